"""What nodes are told to boot: layouts of boot files, kernels and initrds kept once per content."""
