"""Decisions as pure functions: who may have which nodes when. Takes facts and a time, returns records."""
