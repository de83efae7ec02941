"""VLANs, bridges, taps, DHCP and addresses."""
