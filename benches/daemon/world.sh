#!/bin/sh
# Corten's daemon beside dockerd, in the same run: time of `docker run`, the list of 200 containers, memory,
# the start with 1,000 containers on the disk, and 200 connections at once.
#
#   apt-get install docker.io busybox-static python3 && CORTEN=target/release/corten benches/daemon/world.sh
#
# Each daemon has namespaces and directories of its own. SECONDS_OF_CROWD is 120 where it is not set.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
CORTEN=$(realpath "${CORTEN:-target/release/corten}")
if [ "${INSIDE:-}" != yes ]; then
    INSIDE=yes CORTEN=$CORTEN exec unshare --mount --net --propagation private "$0"
fi
ip link set lo up
echo 1 > /proc/sys/net/ipv4/ip_forward
work=$(mktemp -d)
parent=corten-bench-$$
mkdir -p "$work/tree/bin" "$work/tree/etc" "$work/home"
export HOME="$work/home"
cp /bin/busybox "$work/tree/bin/busybox"
for applet in sh true sleep; do ln -s busybox "$work/tree/bin/$applet"; done
tar -C "$work/tree" -cf "$work/image.tar" .
daemon= others=
end() {
    [ -z "$daemon" ] || { kill "$daemon" 2> /dev/null && wait "$daemon" || true; }
    for group in /sys/fs/cgroup/*/"$parent" "/sys/fs/cgroup/$parent"; do
        [ ! -d "$group" ] || rmdir "$group"
    done
    [ -z "$work" ] || rm -rf "$work"
}
trap end EXIT
ask() { python3 "$here/measure.py" "$work/$name.sock" "$daemon$others" "$@"; }
wait_for() { until docker version > /dev/null 2>&1; do sleep 0.02; done; }
corten() {
    "$CORTEN" --root "$work/corten" --state "$work/corten-run" daemon -H "unix://$work/corten.sock" \
        -l error > "$work/corten.log" 2>&1 &
    daemon=$! others=
}
dockerd_() {
    dockerd --data-root "$work/docker" --exec-root "$work/docker-run" --host "unix://$work/dockerd.sock" \
        --pidfile "$work/pid" --bridge none --iptables=false --ip6tables=false --cgroup-parent "/$parent" \
        > "$work/docker.log" 2>&1 &
    daemon=$!
}
# How long until a connection is answered: python's start is not in it.
ready() {
    python3 - "$work/$name.sock" "$CORTEN" "$work" <<'PY'
import json, os, socket, subprocess, sys, time
path, corten, work = sys.argv[1:4]
times = []
for _ in range(5):
    begin = time.monotonic()
    child = subprocess.Popen([corten, "--root", work + "/corten", "--state", work + "/corten-run", "daemon",
                              "-H", "unix://" + path, "-l", "error"])
    while True:
        try:
            s = socket.socket(socket.AF_UNIX)
            s.connect(path)
            s.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            if s.recv(12).endswith(b"200"):
                break
        except OSError:
            time.sleep(0.0005)
    times.append(time.monotonic() - begin)
    child.terminate()
    child.wait()
print(json.dumps({"ready_with_1000_ms": round(sorted(times)[2] * 1000, 1)}))
PY
}
for name in dockerd corten; do
    export DOCKER_HOST="unix://$work/$name.sock"
    if [ $name = corten ]; then corten; else dockerd_; fi
    wait_for
    if [ $name = dockerd ]; then others=$(pgrep -P "$daemon" containerd | sed 's/^/,/' | tr -d '\n'); fi
    docker import -c 'CMD ["sh"]' "$work/image.tar" busybox > /dev/null
    sleep 4
    echo "== $name"
    ask memory idle_mb
    ask run
    ask fill 200 start > /dev/null
    sleep 4
    ask memory with_200_running_mb
    ask list
    [ $name = dockerd ] || ask crowd "${SECONDS_OF_CROWD:-120}"
    docker ps -aq | xargs docker rm -f > /dev/null
    kill "$daemon"; wait "$daemon" || true
    daemon=
done
name=corten DOCKER_HOST="unix://$work/corten.sock"
export DOCKER_HOST
corten
wait_for
ask fill 1000 create > /dev/null
kill "$daemon"; wait "$daemon" || true
daemon=
ready
