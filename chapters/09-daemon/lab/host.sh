#!/bin/sh
# A shell on a host of its own, in network, mount and process namespaces, with the image `box` (a busybox)
# in an engine of its own. What is started here ends with the shell, and containers are removed with it.
#
#   host.sh         no daemon runs yet; DOCKER_HOST says where it will be
#   host.sh tour    it runs, and so does the container `web`, whose port 80 is published as 8080
set -eu
if [ "${1:-}" != inside ]; then
    exec unshare --net --mount --pid --fork --kill-child --mount-proc --propagation private \
        "$0" inside "${1:-}"
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
if [ "$2" = tour ]; then
    corten daemon -l error &
    until [ -S /run/corten.sock ]; do sleep 0.1; done
    docker run -d --name web -p 8080:80 --memory 64m box httpd -f -h /etc >/dev/null
    ID=$(docker inspect -f '{{.Id}}' web) PID=$(docker inspect -f '{{.State.Pid}}' web)
    export ID PID
fi
bash --norc --noprofile || true
for id in $(corten ps -aq); do corten rm -f "$id" >/dev/null || true; done
