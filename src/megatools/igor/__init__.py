"""Reserve cluster nodes and say what they boot."""
