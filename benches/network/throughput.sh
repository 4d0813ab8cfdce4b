#!/bin/bash
# How fast packets pass: throughput.sh corten|docker PROGRAMS SECONDS. PROGRAMS is the directory with
# corten-network and pingpong. In namespaces of its own: unshare -n -m. Prints one line each of
# Gbit/s or microseconds:
#   containers N, host N, published N, containers-latency N, published-latency N
# for container to container, host to container, and another machine to a published port.
set -e
kind=$1 programs=$2 seconds=$3
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
ip link set lo up
# Another machine on this host's wire.
unshare -n sleep 1000 &
machine=$!
sleep 0.2
ip link add eth0 type veth peer name eth0 netns $machine
ip address add 192.0.2.1/24 dev eth0
ip link set eth0 up
nsenter --net=/proc/$machine/ns/net sh -c 'ip address add 192.0.2.2/24 dev eth0; ip link set eth0 up'
case $kind in
corten)
    engine="$programs/corten-network --root /mnt/root --state /mnt/state"
    $engine create app >/dev/null
    for name in a b; do $engine namespace /mnt/$name; done
    a=$($engine attach app /mnt/a -p 5201:5201 -p 5202:5202 | sed -n 's|.*"IPv4Address": "\(.*\)/.*|\1|p')
    $engine attach app /mnt/b >/dev/null
    in_a=/mnt/a in_b=/mnt/b
    ;;
docker)
    mkdir /mnt/d /mnt/image
    dockerd --data-root /mnt/d/data --exec-root /mnt/d/exec --pidfile /mnt/d/pid \
        -H unix:///mnt/d/sock --storage-driver vfs --cgroup-parent /corten-bench-$$ >/mnt/d/log 2>&1 &
    daemon=$!
    engine="docker -H unix:///mnt/d/sock"
    until $engine info >/dev/null 2>&1; do sleep 0.1; done
    cp /bin/busybox /mnt/image
    tar -C /mnt/image -c . | $engine import - busybox >/dev/null
    $engine network create app >/dev/null
    $engine run -d --network app --name aa -p 5201:5201 -p 5202:5202 busybox /busybox sleep 1000 >/dev/null
    $engine run -d --network app --name bb busybox /busybox sleep 1000 >/dev/null
    show() { $engine inspect "$1" --format "$2"; }
    in_a=/proc/$(show aa '{{.State.Pid}}')/ns/net
    in_b=/proc/$(show bb '{{.State.Pid}}')/ns/net
    a=$(show aa '{{.NetworkSettings.Networks.app.IPAddress}}')
    ;;
esac
nsenter --net=$in_a iperf3 -s -p 5201 >/dev/null 2>&1 &
iperf=$!
taskset -c 1 nsenter --net=$in_a "$programs/pingpong" serve 5202 2>/dev/null &
pong=$!
sleep 0.5
gbits() {
    label=$1 place=$2 target=$3
    bits=$(nsenter --net=$place iperf3 -c "$target" -t "$seconds" -J |
        sed -n '/"sum_received"/,/}/ s/.*"bits_per_second":[[:space:]]*\([0-9]*\).*/\1/p' | tail -1)
    echo "$label $((bits / 1000000000)).$(printf %03d $((bits / 1000000 % 1000)))"
}
gbits containers $in_b $a
gbits host /proc/self/ns/net $a
gbits published /proc/$machine/ns/net 192.0.2.1
# Both ends on one processor: whether the other one sleeps, and has to be woken, is not the network's.
latency() {
    label=$1 place=$2 target=$3
    for _ in 1 2 3 4 5; do taskset -c 1 nsenter --net=$place "$programs/pingpong" "$target" 20000; done |
        sort -n | sed -n "3s/^/$label /p"
}
latency containers-latency $in_b $a:5202
latency published-latency /proc/$machine/ns/net 192.0.2.1:5202
kill $iperf $pong $machine
if [ -n "$daemon" ]; then
    $engine rm -f aa bb >/dev/null
    kill $daemon
else
    # The name server ends with its network.
    for name in a b; do $engine release /mnt/$name; done
    $engine rm app >/dev/null
fi
wait
rmdir /sys/fs/cgroup/*/corten-bench-$$ /sys/fs/cgroup/corten-bench-$$ 2>/dev/null || true
