"""igor's command line."""
