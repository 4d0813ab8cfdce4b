#!/bin/sh
# Gives a measurement what the runtimes need, in a mount namespace of its own: a tmpfs for their state,
# as /run is one, and the hugetlb hierarchy without which crun does not work where v1 is.
#
#   world.sh COMMAND…
set -eu
[ "${CORTEN_WORLD:-}" ] || exec env CORTEN_WORLD=1 unshare --mount --propagation private "$0" "$@"
mount -t tmpfs tmpfs /mnt
hugetlb=/sys/fs/cgroup/hugetlb
if [ -d /sys/fs/cgroup/memory ] && [ ! -d $hugetlb ]; then
    mkdir $hugetlb
    # Without the mount, a runtime would take the empty directory for a hierarchy and write into it.
    mount -t cgroup -o hugetlb cgroup $hugetlb || { rmdir $hugetlb; exec "$@"; }
    status=0
    "$@" || status=$?
    # Lazily: a container that is still being removed may hold it.
    umount --lazy $hugetlb
    rmdir $hugetlb
    exit $status
fi
exec "$@"
