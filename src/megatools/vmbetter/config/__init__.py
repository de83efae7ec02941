"""A build file and its parents: from text to a frozen recipe."""
