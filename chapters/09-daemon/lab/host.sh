#!/bin/sh
# A shell on a host of its own, in network, mount and process namespaces, with the image `box` (a busybox)
# in an engine of its own. No daemon runs yet; DOCKER_HOST says where it will be. What is started here ends
# with the shell, and containers are removed with it.
set -eu
if [ "${1:-}" != inside ]; then
    exec unshare --net --mount --pid --fork --kill-child --mount-proc --propagation private "$0" inside
fi
mount -t tmpfs tmpfs /run
export CORTEN_ROOT=/run/lib CORTEN_STATE=/run/corten DOCKER_HOST=unix:///run/corten.sock
# No configuration and no contexts of whoever runs this.
export HOME=/run/home
mkdir "$HOME"
ip link set lo up
# What passes a bridge is no business of iptables; a module that others load makes it so.
sysctl -qw net.bridge.bridge-nf-call-iptables=0 2>/dev/null || true
tar -C "$ROOTFS" -c . | corten import -c 'CMD ["sh"]' - box >/dev/null
bash --norc --noprofile || true
for id in $(corten ps -aq); do corten rm -f "$id" >/dev/null || true; done
