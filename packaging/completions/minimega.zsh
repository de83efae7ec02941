#compdef minimega
_arguments \
    "-base[runtime directory\: socket, journal, instances]:value:_files" \
    "-filepath[directory of images and other files (default\: <base>/files)]:value:_files" \
    "-namespace[namespace of the commands of -e and -attach]:value:_files" \
    "-e[run the words that follow as a command on the running daemon]" \
    "-attach[open a prompt on the running daemon]" \
    "-nostdin[daemon without a prompt\: wait for a signal]" \
    "-force[start although a stale socket is there; never displaces a live daemon]" \
    "-recover[accepted; what runs is always adopted]" \
    "-level[log level\: debug, info, warn, error or fatal]:value:_files" \
    "-v[log to standard error]" \
    "-verbose[log to standard error]" \
    "-logfile[append the log to this file]:value:_files" \
    "-vlanrange[VLANs handed out to names, as low-high (default\: 101-4096, half open)]:value:_files" \
    "-ovs-run-dir[run directory of the Open vSwitch to use (default\: the system's)]:value:_files" \
    "-address[address of this host on the network between hosts (default\: that of the default route)]:value:_files" \
    "-accel[accelerator of QEMU\: kvm or tcg (default\: what this machine can do)]:value:_files" \
    "-cpu-cap[most virtual CPUs promised to VMs, per CPU (default\: any number)]:value:_files" \
    "-memory-cap[most memory promised to VMs, as a share of what there is (default\: any)]:value:_files" \
    "-mesh-timeout[seconds another host may be silent before a command gives it up (default\: 10; 0\: none)]:value:_files" \
    "-mesh-open[be in a mesh without certificates\: anyone on this network can command this host]" \
    "-mesh-hubs[comma list of nodes that all others are connected to, for hundreds of hosts]:value:_files" \
    "-cluster-dir[directory of this host's membership of a cluster (default\: /var/lib/megatools/cluster)]:value:_files" \
    "-degree[with a number above 0\: say at the start how to be in a mesh, if this host is in none]:value:_files" \
    "-context[name of the mesh; meshes of different names never mix]:value:_files" \
    "-port[port of the mesh (TCP, and UDP to find each other); the one above it carries streams]:value:_files" \
    "-broadcast[multicast group, or hosts to begin with, to find others (default\: a group of this mesh)]:value:_files" \
    "-msa[seconds without a sign of life after which a node counts as gone]:value:_files" \
    "-settings[settings file (JSON)]:value:_files" \
    "-show-settings[print every setting with its source and exit]" \
    "-version[print the version and exit]" \
    "-cli[print the commands as JSON and exit]" \
    "-doc[print the commands as markdown and exit]" \
    "-help[print this text and exit]" \
    "-h[print this text and exit]" \
    '*:script:_files'
