"""Virtual machines: what they are made of, how they live, and the backends that run them."""
