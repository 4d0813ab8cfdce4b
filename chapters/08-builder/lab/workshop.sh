#!/bin/sh
# A shell in an empty folder in memory, with an engine of its own that has the image `busybox`, made of
# $ROOTFS: in network, mount and process namespaces, so that nothing that is done there reaches the machine
# that it runs on. Everything ends with the shell.
set -eu
if [ "${1:-}" != inside ]; then
    exec unshare --net --mount --pid --fork --kill-child --mount-proc --propagation private "$0" inside
fi
mount -t tmpfs tmpfs /run
ip link set lo up
export CORTEN_ROOT=/run/lib CORTEN_STATE=/run/corten LC_ALL=C.UTF-8
tar -C "$ROOTFS" -c . | corten import - busybox > /dev/null
mkdir /run/app
cd /run/app
exec bash --norc --noprofile
