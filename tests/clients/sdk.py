"""What programs do with the Python SDK, against whichever daemon DOCKER_HOST names."""
import io
import tarfile
import time

import docker

client = docker.from_env()
assert client.ping()
assert client.containers.run("busybox", "echo hi", remove=True) == b"hi\n"

box = client.containers.run(
    "busybox", ["sh", "-c", "echo out; echo err >&2; sleep 1000"],
    detach=True, name="box", labels={"a": "b"})
for _ in range(100):
    if box.logs() == b"out\nerr\n":
        break
    time.sleep(0.05)
assert box.logs(stderr=False) == b"out\n", box.logs(stderr=False)
assert [c.name for c in client.containers.list(filters={"label": "a=b"})] == ["box"]

# Execs: their status, their streams apart, and input with an end of its own.
assert box.exec_run(["sh", "-c", "exit 3"]).exit_code == 3
assert box.exec_run(["sh", "-c", "echo o; echo e >&2"], demux=True).output == (b"o\n", b"e\n")
socket = box.exec_run("cat", stdin=True, socket=True).output._sock
socket.sendall(b"typed\n")
socket.shutdown(1)
back = b""
while True:
    piece = socket.recv(100)
    if not piece:
        break
    back += piece
assert back == b"\x01\0\0\0\0\0\0\x06typed\n", back
# Headers are read by a buffer that is thrown away: nothing may come with them.
for _ in range(30):
    assert box.exec_run(["echo", "whole"]).output == b"whole\n"

archive = io.BytesIO()
with tarfile.open(fileobj=archive, mode="w") as tar:
    member = tarfile.TarInfo("file")
    member.size = 3
    tar.addfile(member, io.BytesIO(b"abc"))
assert box.put_archive("/tmp", archive.getvalue())
pieces, stat = box.get_archive("/tmp/file")
assert stat["size"] == 3
with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
    assert tar.extractfile("file").read() == b"abc"
assert {"Path": "/tmp/file", "Kind": 1} in box.diff()

figures = box.stats(stream=False)
assert figures["name"] == "/box" and figures["memory_stats"]["usage"] > 0
assert next(iter(box.stats(stream=True)))
assert "PID" in box.top()["Titles"]
box.pause()
box.reload()
assert box.status == "paused"
box.unpause()
box.stop(timeout=0)
assert box.wait()["StatusCode"] == 137

# Attached before it runs: nothing of its output is missed.
api = client.api
talk = api.create_container("busybox", ["sh", "-c", "read x; echo got $x"], stdin_open=True)
stream = api.attach_socket(talk, params={"stdin": 1, "stdout": 1, "stream": 1})
api.start(talk)
stream._sock.sendall(b"it\n")
assert api.wait(talk)["StatusCode"] == 0
assert api.logs(talk) == b"got it\n"
api.remove_container(talk)

image = box.commit("made", "v1")
assert image.tags == ["made:v1"]
client.images.remove("made:v1")
network = client.networks.create("net", labels={"a": "b"})
network.connect(box)
network.disconnect(box)
network.remove()
volume = client.volumes.create("vol")
volume.remove()
actions = [e["Action"] for e in client.events(since=0, until=int(time.time()) + 1, decode=True)]
wanted = ["create", "start", "die", "destroy"]
assert all(action in actions for action in wanted), actions
box.remove(v=True)
for get, error in [(client.containers.get, docker.errors.NotFound),
                   (client.images.get, docker.errors.ImageNotFound)]:
    try:
        get("nosuch")
        raise AssertionError("it was found")
    except error:
        pass
print("all is well")
