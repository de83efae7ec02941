"""Pages and their HTTP interface."""
