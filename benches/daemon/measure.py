"""Measures one daemon: benches/daemon/world.sh starts it, and says where.

    measure.py SOCKET PIDS run|list|memory|ready|crowd …

Prints one JSON object. PIDS are the daemon's processes (dockerd and its containerd), by commas.
"""
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time

SOCKET, PIDS, WHAT = sys.argv[1], [int(p) for p in sys.argv[2].split(",")], sys.argv[3]
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


def resident():
    """Megabytes, what is shared with others by its part."""
    total = 0
    for pid in PIDS:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            fields = dict(line.split(":") for line in file.read().splitlines()[1:])
        total += int(fields["Rss"].split()[0])
    return total / 1024


def run():
    times = []
    for _ in range(15):
        begin = time.monotonic()
        subprocess.run(["docker", "run", "--rm", "--network", "none", "busybox", "true"],
                       env=ENV, check=True, stdout=subprocess.DEVNULL)
        times.append(time.monotonic() - begin)
    return {"run_ms": round(statistics.median(times) * 1000, 1)}


def fill(count, start):
    connection = Connection()
    for at in range(count):
        body = {"Image": "busybox", "Cmd": ["sleep", "100000"],
                "HostConfig": {"NetworkMode": "none"}, "Labels": {"number": str(at)}}
        status, text = ask(connection, "POST", f"/containers/create?name=c{at}", body)
        assert status == 201, text
        if start:
            status, text = ask(connection, "POST", f"/containers/c{at}/start")
            assert status == 204, text


def listing():
    """Requests for the list of all containers, by four clients for five seconds."""
    counts, end = [0] * 4, time.monotonic() + 5

    def client(at):
        connection = Connection()
        while time.monotonic() < end:
            status, _ = ask(connection, "GET", "/containers/json?all=1")
            assert status == 200
            counts[at] += 1

    threads = [threading.Thread(target=client, args=(at,)) for at in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    return {"list_per_second": round(sum(counts) / 5, 1)}


def crowd(seconds):
    """200 connections at once: each asks, and asks again."""
    end, errors, counts = time.monotonic() + seconds, [], [0] * 200
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
    return {"crowd_requests": sum(counts), "crowd_fewest": min(counts),
            "crowd_errors": len(errors), "crowd_first_errors": [str(e) for e in errors[:3]]}


if WHAT == "run":
    print(json.dumps(run()))
elif WHAT == "memory":
    print(json.dumps({sys.argv[4]: round(resident(), 1)}))
elif WHAT == "fill":
    fill(int(sys.argv[4]), sys.argv[5] == "start")
    print("{}")
elif WHAT == "list":
    print(json.dumps(listing()))
elif WHAT == "crowd":
    print(json.dumps(crowd(int(sys.argv[4]))))
