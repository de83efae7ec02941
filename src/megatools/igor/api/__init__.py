"""igor as a library and as a service: requests, the engine that answers them, and the ways to reach it."""
