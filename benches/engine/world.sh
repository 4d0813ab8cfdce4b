#!/bin/sh
# Gives a measurement three engines side by side, each with the image `busybox` and one container `box`
# that sleeps, all of it in memory and in namespaces of its own: corten (program CORTEN), docker with a
# dockerd of its own, podman.
#
#   [CORTEN=target/release/corten] world.sh COMMAND…
set -eu
: "${CORTEN:=$(cd "$(dirname "$0")/../.." && pwd)/target/release/corten}"
export CORTEN
if [ "${INSIDE:-}" != yes ]; then
    INSIDE=yes exec unshare --mount --net --propagation private "$0" "$@"
fi
work=$(mktemp -d)
daemon=
groups() { ls -d /sys/fs/cgroup/*/docker /sys/fs/cgroup/*/libpod_parent 2>/dev/null || true; }
before=$(groups)
end() {
    "$CORTEN" rm -f box > /dev/null 2>&1 || true
    podman rm -f -t 0 box > /dev/null 2>&1 || true
    docker rm -f box > /dev/null 2>&1 || true
    [ -z "$daemon" ] || { kill "$daemon" && wait "$daemon" || true; }
    # Docker and podman leave the groups above those of their containers.
    for group in $(groups); do
        case " $before " in *"$group"*) ;; *) find "$group" -depth -type d -exec rmdir {} \; || true ;; esac
    done 2>/dev/null
    umount -R --lazy "$work" 2>/dev/null || true
    rm -rf "$work"
}
trap end EXIT
mount -t tmpfs tmpfs "$work"
ip link set lo up
# crun takes a host for one of v1 only with this hierarchy. A directory to mount it on is made in a file
# system of our own, under which the host's hierarchies are.
if [ -d /sys/fs/cgroup/memory ] && ! mountpoint -q /sys/fs/cgroup/hugetlb; then
    mkdir "$work/cgroup"
    mount --rbind /sys/fs/cgroup "$work/cgroup"
    mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
    for hierarchy in "$work"/cgroup/*; do
        mkdir "/sys/fs/cgroup/${hierarchy##*/}"
        mount --move "$hierarchy" "/sys/fs/cgroup/${hierarchy##*/}"
    done
    mkdir /sys/fs/cgroup/hugetlb
    mount -t cgroup -o hugetlb cgroup /sys/fs/cgroup/hugetlb
fi
mkdir -p "$work/tree/bin" "$work/tree/proc" "$work/tree/dev" "$work/tree/sys" "$work/tree/etc" "$work/tmp"
cp /bin/busybox "$work/tree/bin/busybox"
for applet in sh true sleep; do ln -s busybox "$work/tree/bin/$applet"; done
tar -C "$work/tree" -cf "$work/image.tar" .

export CORTEN_ROOT="$work/corten" CORTEN_STATE="$work/corten-run"
"$CORTEN" import -c 'CMD ["sh"]' - busybox < "$work/image.tar" > /dev/null
"$CORTEN" run -d --name box --network none busybox sleep 100000 > /dev/null

export DOCKER_HOST="unix://$work/docker.sock" TMPDIR="$work/tmp"
dockerd --data-root "$work/docker" --exec-root "$work/docker-run" --host "$DOCKER_HOST" \
    --pidfile "$work/docker.pid" --bridge none --iptables=false --ip6tables=false --ip-forward=false \
    --storage-driver overlay2 > "$work/docker.log" 2>&1 &
daemon=$!
for _ in $(seq 100); do docker version > /dev/null 2>&1 && break; sleep 0.2; done
docker import -c 'CMD ["sh"]' "$work/image.tar" busybox > /dev/null
docker run -d --name box --network none busybox sleep 100000 > /dev/null

cat > "$work/storage.conf" <<STORAGE
[storage]
driver = "overlay"
graphroot = "$work/podman"
runroot = "$work/podman-run"
STORAGE
cat > "$work/containers.conf" <<CONF
[containers]
# Its usual ones are above what a machine without CAP_SYS_RESOURCE may set.
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "$work/podman-tmp"
CONF
export CONTAINERS_STORAGE_CONF="$work/storage.conf" CONTAINERS_CONF="$work/containers.conf"
podman import -c 'CMD ["sh"]' "$work/image.tar" busybox > /dev/null 2>&1
podman run -d --name box --network none busybox sleep 100000 > /dev/null
"$@"
