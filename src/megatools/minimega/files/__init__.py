"""Files that hosts share: found by content or name, pulled from several peers at once, never half visible."""
