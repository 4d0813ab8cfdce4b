#!/bin/sh
# Corten's daemon beside dockerd, in turns in the same run. Prints a line of numbers for each thing that is
# measured and each daemon, `NAME corten|dockerd VALUE…`; measure.py says what they are.
#
#   apt-get install docker.io busybox-static python3
#   CORTEN=target/release/corten benches/daemon/world.sh RUNS CONTAINERS STORED [CROWD]
#
# RUNS of each command, CONTAINERS that run while their list is asked for, STORED ones that are on the disk
# when a daemon starts. With CROWD, Corten then serves 200 connections for so many seconds.
# Each daemon has network and mount namespaces and directories of its own.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
CORTEN=$(realpath "${CORTEN:-target/release/corten}")
if [ "${INSIDE:-}" != yes ]; then
    INSIDE=yes CORTEN=$CORTEN exec unshare --mount --propagation private "$0" "$@"
fi
runs=$1 containers=$2 stored=$3 crowd=${4:-}
work=$(mktemp -d)
parent=corten-bench-$$
mkdir -p "$work/tree/bin" "$work/tree/etc" "$work/home" "$work/run"
# What does not outlive a boot is in memory, as the machine's own /run is where these are at home.
mount -t tmpfs run "$work/run"
export HOME="$work/home" TMPDIR="$work"
cp /bin/busybox "$work/tree/bin/busybox"
for applet in sh true sleep; do ln -s busybox "$work/tree/bin/$applet"; done
tar -C "$work/tree" -cf "$work/image.tar" .

# A daemon on a network of its own. `exec`, so that the process that is started is the daemon.
cat > "$work/apart" <<'APART'
#!/bin/sh
exec unshare --mount --net --propagation private sh -c \
    'ip link set lo up; echo 1 > /proc/sys/net/ipv4/ip_forward; exec "$@"' sh "$@"
APART
# As each of them is started, with its own name as the only argument; APART goes before it.
cat > "$work/start" <<START
#!/bin/sh
case \$1 in
corten)
    exec \${APART:-} "$CORTEN" --root "$work/corten" --state "$work/run/corten" daemon \\
        -H "unix://$work/corten.sock" -l error ;;
dockerd)
    exec \${APART:-} dockerd --data-root "$work/docker" --exec-root "$work/run/docker" \\
        --host "unix://$work/dockerd.sock" --pidfile "$work/pid" --userland-proxy=false \\
        --cgroup-parent "/$parent" -l error ;;
esac
START
chmod +x "$work/apart" "$work/start"
corten= dockerd=
end() {
    for pid in $corten $dockerd; do
        kill "$pid" 2> /dev/null && wait "$pid" || true
    done
    for group in /sys/fs/cgroup/*/"$parent" "/sys/fs/cgroup/$parent"; do
        [ ! -d "$group" ] || rmdir "$group"
    done
    [ -z "$work" ] || { umount -l "$work/run"; rm -rf "$work"; }
}
trap end EXIT
APART="$work/apart" "$work/start" corten > "$work/corten.log" 2>&1 &
corten=$!
APART="$work/apart" "$work/start" dockerd > "$work/dockerd.log" 2>&1 &
dockerd=$!
# containerd is dockerd's child, and a part of what it needs.
pids() {
    case $1 in
    corten) echo "$corten" ;;
    dockerd) echo "$dockerd$(pgrep -P "$dockerd" containerd | sed 's/^/,/' | tr -d '\n')" ;;
    esac
}
each() {
    for name in dockerd corten; do
        python3 "$here/measure.py" $name "$work/$name.sock" "$(pids $name)" "$@"
    done
}
for name in dockerd corten; do
    until docker -H "unix://$work/$name.sock" version > /dev/null 2>&1; do sleep 0.05; done
    docker -H "unix://$work/$name.sock" import -c 'CMD ["sh"]' "$work/image.tar" busybox > /dev/null
done
sleep 4
each memory idle
turns=5
for _ in $(seq $turns); do each command run $((runs / turns)) run --rm --network none busybox true; done
for _ in $(seq $turns); do each command run-network $((runs / turns)) run --rm busybox true; done
each fill 1 start
for _ in $(seq $turns); do each command exec $((runs / turns)) exec c0 true; done
each empty
each fill "$containers" start
sleep 4
each memory running
for _ in $(seq $turns); do each list; done
[ -z "$crowd" ] || python3 "$here/measure.py" corten "$work/corten.sock" "$corten" crowd "$crowd"
each empty
each fill "$stored" create
for pid in $corten $dockerd; do
    kill "$pid"
    wait "$pid" || true
done
corten= dockerd=
for name in dockerd corten; do
    "$work/apart" python3 "$here/measure.py" $name "$work/$name.sock" 0 ready 5 "$work/start"
done
