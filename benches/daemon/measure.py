"""Measures one daemon; benches/daemon/world.sh starts it, and says where.

    measure.py NAME SOCKET PIDS WHAT …

Prints lines `THING NAME VALUE…`. PIDS are the daemon's processes (dockerd's and its containerd's), by commas.

    memory THING          resident memory, megabytes, five times a second apart
    command THING N …     milliseconds of N runs of `docker …`
    fill N start|create   N containers that sleep; prints nothing
    empty                 removes all containers; prints nothing
    list                  requests a second for the list of all containers that run, by four clients for 3 s
    ready N START         milliseconds from `START NAME` to the first answer, N times
    crowd SECONDS         200 connections at once, that ask and ask again
"""
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time

NAME, SOCKET = sys.argv[1], sys.argv[2]
PIDS, WHAT = [int(pid) for pid in sys.argv[3].split(",")], sys.argv[4]
REST = sys.argv[5:]
ENV = dict(os.environ, DOCKER_HOST="unix://" + SOCKET)


class Connection(http.client.HTTPConnection):
    def __init__(self):
        super().__init__("d")

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(SOCKET)


def ask(connection, method, path, body=None):
    headers = {"Content-Type": "application/json"} if body else {}
    connection.request(method, path, body and json.dumps(body), headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def tell(thing, values):
    print(thing, NAME, *(f"{value:.4f}" for value in values), flush=True)


def resident():
    """Megabytes; a page that others have, too, counts whole."""
    total = 0
    for pid in PIDS:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            fields = dict(line.split(":") for line in file.read().splitlines()[1:])
        total += int(fields["Rss"].split()[0])
    return total / 1024


def memory(thing):
    values = []
    for _ in range(5):
        values.append(resident())
        time.sleep(1)
    tell(thing, values)


def command(thing, count, *words):
    def run():
        subprocess.run(["docker", *words], env=ENV, check=True, stdout=subprocess.DEVNULL)

    run()
    times = []
    for _ in range(int(count)):
        begin = time.monotonic()
        run()
        times.append((time.monotonic() - begin) * 1000)
    tell(thing, times)


def fill(count, what):
    connection = Connection()
    for at in range(int(count)):
        body = {"Image": "busybox", "Cmd": ["sleep", "100000"],
                "HostConfig": {"NetworkMode": "none"}, "Labels": {"number": str(at)}}
        status, text = ask(connection, "POST", f"/containers/create?name=c{at}", body)
        assert status == 201, text
        if what == "start":
            status, text = ask(connection, "POST", f"/containers/c{at}/start")
            assert status == 204, text


def empty():
    connection = Connection()
    for container in json.loads(ask(connection, "GET", "/containers/json?all=1")[1]):
        status, text = ask(connection, "DELETE", f"/containers/{container['Id']}?force=1")
        assert status == 204, text


def listing(seconds=3):
    counts, end = [0] * 4, time.monotonic() + seconds

    def client(at):
        connection = Connection()
        while time.monotonic() < end:
            status, _ = ask(connection, "GET", "/containers/json")
            assert status == 200
            counts[at] += 1

    threads = [threading.Thread(target=client, args=(at,)) for at in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    tell("list", [sum(counts) / seconds])


def ready(count, start):
    """START is a shell's script that executes the daemon: a millisecond or two of both."""
    times = []
    for _ in range(int(count)):
        begin = time.monotonic()
        child = subprocess.Popen([start, NAME], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while True:
            try:
                s = socket.socket(socket.AF_UNIX)
                s.connect(SOCKET)
                s.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                if s.recv(12).endswith(b"200"):
                    break
            except OSError:
                assert child.poll() is None, "the daemon has ended"
                time.sleep(0.0005)
        times.append((time.monotonic() - begin) * 1000)
        child.terminate()
        child.wait()
    tell("ready", times)


def crowd(seconds):
    end, errors, counts = time.monotonic() + float(seconds), [], [0] * 200
    paths = ["/_ping", "/containers/json", "/containers/c0/json", "/images/json", "/info", "/version"]

    def client(at):
        connection = Connection()
        try:
            while time.monotonic() < end:
                status, text = ask(connection, "GET", paths[counts[at] % len(paths)])
                if status != 200:
                    errors.append((status, text[:200]))
                counts[at] += 1
        except Exception as why:  # noqa: BLE001 - each is a failure of the daemon
            errors.append(repr(why))

    threads = [threading.Thread(target=client, args=(at,)) for at in range(200)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    print(f"crowd: {sum(counts)} requests, of one client at least {min(counts)}, {len(errors)} errors",
          errors[:3], file=sys.stderr)
    assert not errors


{"memory": memory, "command": command, "fill": fill, "empty": empty, "list": listing, "ready": ready,
 "crowd": crowd}[WHAT](*REST)
