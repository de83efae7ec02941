"""Carrying out: starts and ends of reservations, and the work that follows from them."""
