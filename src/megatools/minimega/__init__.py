"""Launch and manage virtual machines, on one host or many."""
