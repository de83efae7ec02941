"""Node-to-node messages: who is there, calls to one, some or all, byte streams; knows no feature."""
