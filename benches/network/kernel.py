#!/usr/bin/env python3
"""What the kernel alone takes for a container's port of a bridge: kernel.py ATTACHED ROUNDS.

Three requests of rtnetlink and nothing else: the pair of devices, of which one is made a port of the bridge
and the other is made in a second namespace; IPv6 off, as the engine has it; and the port set up. With ATTACHED
ports there already, each with its peer in that namespace. Prints one line for each round: the microseconds of
the pair, of the setting, and of setting it up. It makes namespaces of its own: unshare -n -m, as root.
"""
import ctypes
import socket
import struct
import sys
import time

attached, rounds = int(sys.argv[1]), int(sys.argv[2])
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(None, b"/sys", b"sysfs", 0, None) != 0:
    sys.exit("not in namespaces of its own: unshare -n -m")
home = open("/proc/thread-self/ns/net")
if libc.unshare(0x40000000) != 0:
    sys.exit("unshare the network namespace: needs root")
there = open("/proc/thread-self/ns/net")
libc.setns(home.fileno(), 0)
kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
kernel.bind((0, 0))


def attribute(kind, value):
    if isinstance(value, int):
        value = struct.pack("=I", value)
    elif isinstance(value, str):
        value = value.encode() + b"\0"
    elif isinstance(value, list):
        value = b"".join(value)
    return struct.pack("=HH", len(value) + 4, kind) + value + b"\0" * (-len(value) % 4)


def info(flags=0):
    return struct.pack("=BxHiII", 0, 0, 0, flags, flags)


def ask(kind, more, flags, *attributes):
    body = info(flags) + b"".join(attributes)
    begun = time.perf_counter()
    kernel.send(struct.pack("=IHHII", len(body) + 16, kind, 5 | more, 1, 0) + body)
    answer = kernel.recv(65536)
    took = (time.perf_counter() - begun) * 1e6
    (error,) = struct.unpack_from("=i", answer, 16)
    if error:
        sys.exit(f"rtnetlink: errno {-error}")
    return took


NEW, SET, CREATE, UP = 16, 19, 0x600, 1
ask(NEW, CREATE, UP, attribute(3, "app"), attribute(18, [attribute(1, "bridge"), attribute(2, [
    attribute(1, 0), attribute(23, b"\0")])]))
bridge = socket.if_nametoindex("app")


def port(number):
    name = f"v{number}"
    peer = info() + attribute(3, f"p{number}") + attribute(28, there.fileno())
    pair = ask(NEW, CREATE, 0, attribute(3, name), attribute(10, bridge), attribute(18, [
        attribute(1, "veth"), attribute(2, [attribute(1, peer)])]))
    begun = time.perf_counter()
    with open(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6", "w") as setting:
        setting.write("1")
    off = (time.perf_counter() - begun) * 1e6
    return pair, off, ask(SET, 0, UP, attribute(3, name))


for number in range(attached):
    port(number)
for number in range(attached, attached + rounds):
    print(*(f"{took:.0f}" for took in port(number)))
    time.sleep(0.02)
