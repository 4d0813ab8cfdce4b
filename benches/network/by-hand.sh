#!/bin/bash
# One container's network with ip(8) and nft(8), again and again: by-hand.sh ROUNDS. Each line is a round:
# the milliseconds of its set-up and of its end. In a network namespace of its own: unshare -n -m.
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
ip link set lo up
ip link add app type bridge
ip address add 172.30.0.1/16 dev app
ip link set app up
nft -f - <<'RULES'
table inet byhand {
    map ports { type inet_proto . inet_service : ipv4_addr . inet_service; }
    chain arriving {
        type nat hook prerouting priority -100;
        dnat ip to meta l4proto . th dport map @ports
    }
    chain leaving {
        type nat hook postrouting priority 100;
        ip saddr 172.30.0.0/16 oifname != "app" masquerade
    }
}
RULES
now() { echo "${EPOCHREALTIME/[^0-9]/}"; }
for round in $(seq "$1"); do
    a=$(now)
    ip netns add box
    ip link add veth-box type veth peer name eth0 netns box
    ip link set veth-box master app up
    ip -n box link set lo up
    ip -n box address add 172.30.0.2/16 dev eth0
    ip -n box link set eth0 up
    ip -n box route add default via 172.30.0.1
    nft add element inet byhand ports '{ tcp . 8080 : 172.30.0.2 . 80 }'
    b=$(now)
    nft delete element inet byhand ports '{ tcp . 8080 : 172.30.0.2 . 80 }'
    ip link delete veth-box
    ip netns delete box
    c=$(now)
    echo "$(((b - a) / 1000)).$(printf %03d $(((b - a) % 1000))) $(((c - b) / 1000)).$(printf %03d $(((c - b) % 1000)))"
    sleep 0.06
done
