"""What a tree is turned into: one file for each kind of result."""
