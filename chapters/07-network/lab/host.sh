#!/bin/sh
# A shell on a host of its own, 192.0.2.1: in network, mount and process namespaces, so that nothing that
# is done there reaches the machine that it runs on. On its wire is another machine, 192.0.2.2, which is
# the network namespace `machine`, and runs a resolver that says 192.0.2.2 to every question.
set -eu
if [ "${1:-}" != inside ]; then
    exec unshare --net --mount --pid --fork --kill-child --mount-proc --propagation private "$0" inside
fi
mount -t tmpfs tmpfs /run
export CORTEN_ROOT=/run/lib CORTEN_STATE=/run/corten
ip link set lo up
# What passes a bridge is no business of iptables; a module that others load makes it so.
sysctl -qw net.bridge.bridge-nf-call-iptables=0 2>/dev/null || true
ip netns add machine
ip link add eth0 type veth peer name eth0 netns machine
ip address add 192.0.2.1/24 dev eth0
ip link set eth0 up
ip route add default via 192.0.2.2
ip netns exec machine sh -c 'ip link set lo up; ip address add 192.0.2.2/24 dev eth0; ip link set eth0 up'
echo 'nameserver 192.0.2.2' > /run/resolv.conf
touch /etc/resolv.conf 2>/dev/null || true
mount --bind /run/resolv.conf /etc/resolv.conf
ip netns exec machine perl -MSocket -e '
    socket(S, AF_INET, SOCK_DGRAM, 0); bind(S, pack_sockaddr_in(53, INADDR_ANY)) or die;
    while ($peer = recv(S, $q, 4096, 0)) {
        my $end = 12; $end += 1 + ord substr($q, $end, 1) while ord substr($q, $end, 1);
        my $section = substr($q, 12, $end + 5 - 12);
        my $answers = unpack("n", substr($section, -4)) == 1;
        my $r = substr($q, 0, 2) . pack("n5", 0x8180, 1, $answers, 0, 0) . $section;
        $r .= pack("nnnNn", 0xc00c, 1, 1, 60, 4) . inet_aton("192.0.2.2") if $answers;
        send(S, $r, 0, $peer); }' &
exec bash --norc --noprofile
