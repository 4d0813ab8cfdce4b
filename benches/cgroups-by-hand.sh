#!/bin/sh
# What corten-cgroups does, by hand: a group in every hierarchy, limits on memory, processor time and
# processes, a program in it, and the end of the group. The peer of `./x bench cgroups`.
set -eu
name=by-hand-$$
groups=
while read -r _ point kind _; do
    case $kind in cgroup | cgroup2) groups="$groups $point/$name" ;; esac
done </proc/mounts
mkdir $groups
for group in $groups; do
    if [ -e "$group/cpuset.cpus" ] && [ ! -e "$group/cgroup.controllers" ]; then
        cat "${group%/*}/cpuset.cpus" >"$group/cpuset.cpus"
        cat "${group%/*}/cpuset.mems" >"$group/cpuset.mems"
    fi
    [ ! -e "$group/memory.limit_in_bytes" ] || echo 67108864 >"$group/memory.limit_in_bytes"
    [ ! -e "$group/memory.max" ] || echo 67108864 >"$group/memory.max"
    [ ! -e "$group/cpu.cfs_quota_us" ] || echo 50000 >"$group/cpu.cfs_quota_us"
    [ ! -e "$group/cpu.max" ] || echo 50000 100000 >"$group/cpu.max"
    [ ! -e "$group/pids.max" ] || echo 20 >"$group/pids.max"
done
sh -c 'for group in $0; do echo $$ >"$group/cgroup.procs"; done; exec "$@"' "$groups" "$@"
rmdir $groups
