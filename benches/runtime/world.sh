#!/bin/sh
# Gives a measurement what the runtimes need, in a mount namespace of its own: a tmpfs for their state,
# as /run is one, and the hugetlb hierarchy without which crun does not work where v1 is.
#
#   world.sh COMMAND…
set -eu
[ "${CORTEN_WORLD:-}" ] || exec env CORTEN_WORLD=1 unshare --mount --propagation private "$0" "$@"
mount -t tmpfs tmpfs /mnt
if [ -d /sys/fs/cgroup/memory ] && [ ! -d /sys/fs/cgroup/hugetlb ]; then
    mkdir /sys/fs/cgroup/hugetlb
    mount -t cgroup -o hugetlb cgroup /sys/fs/cgroup/hugetlb || true
    status=0
    "$@" || status=$?
    umount /sys/fs/cgroup/hugetlb || true
    rmdir /sys/fs/cgroup/hugetlb
    exit $status
fi
exec "$@"
