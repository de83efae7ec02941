"""A namespace owns VMs, VLANs, taps, DHCP servers and saved configurations."""
