# The document's first example: two VMs of 1500 MB and two of 512 MB on one network with DHCP.
# Run it from the directory that holds tiny.kernel and tiny.initrd, which
#     sudo ./bin/vmbetter ./misc/vmbetter_configs/tiny.conf
# makes:    sudo ./bin/minimega examples/basics.mm
host_tap 1 10.0.0.1/24
dnsmasq start 10.0.0.1 10.0.0.2 10.0.0.254
vm_net 1
vm_initrd tiny.initrd
vm_kernel tiny.kernel
vm_memory 1500
vm_launch 2
vm_memory 512
vm_launch 2
vm_start
vnc serve
