"""The words of 2013, translated to the modern language."""
