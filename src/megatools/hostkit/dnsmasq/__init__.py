"""dnsmasq: its files (`config`, `leases`) and its process (`server`). Anyone may use it; dnsmasq(8)."""
