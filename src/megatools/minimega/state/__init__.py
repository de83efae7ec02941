"""What survives a restart of the daemon."""
