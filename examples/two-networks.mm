# Two networks by name, a VM on each and one on both; the VMs have no disk, so they only show their firmware.
# Run it:    sudo ./bin/minimega examples/two-networks.mm
vm config memory 128
vm config networks left
vm launch kvm alice
vm config networks right
vm launch kvm bob
vm config networks left right
vm launch kvm carol
vm start all
.columns name,state,vlan vm info
