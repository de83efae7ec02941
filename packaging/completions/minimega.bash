# bash completion of minimega
complete -o default -W "-base -filepath -namespace -e -attach -nostdin -force -recover -level -v -verbose -logfile -vlanrange -ovs-run-dir -address -accel -cpu-cap -memory-cap -mesh-timeout -mesh-open -mesh-hubs -cluster-dir -degree -context -port -broadcast -msa -settings -show-settings -version -cli -doc -help -h" minimega
