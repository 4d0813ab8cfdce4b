"""A person at a terminal: docker run -it, its size, leaving it, coming back."""
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time


class Terminal:
    def __init__(self, *args):
        self.ours, theirs = pty.openpty()
        self.size(30, 100)
        self.child = subprocess.Popen(args, stdin=theirs, stdout=theirs, stderr=theirs,
                                      start_new_session=True)
        os.close(theirs)
        self.seen = b""

    def size(self, rows, columns):
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys):
        os.write(self.ours, keys)

    def expect(self, words):
        end = time.monotonic() + 30
        while words not in self.seen:
            assert time.monotonic() < end, (words, self.seen)
            if select.select([self.ours], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.ours, 1024)
                except OSError:
                    break
        assert words in self.seen, (words, self.seen)
        self.seen = self.seen.split(words, 1)[1]


    def insist(self, keys, words, number=0):
        """Types again until the words are there: a terminal that is made raw forgets what was typed, and a
        client that has just begun does not hear signals yet."""
        for _ in range(60):
            os.kill(self.child.pid, number)
            self.type(keys)
            if select.select([self.ours], [], [], 0.5)[0]:
                time.sleep(0.1)
                self.seen += os.read(self.ours, 4096)
            if words in self.seen:
                return
        raise AssertionError((words, self.seen))

    def leave(self, keys, status):
        for _ in range(60):
            try:
                self.type(keys)
                assert self.child.wait(0.5) == status
                return
            except subprocess.TimeoutExpired:
                pass
        raise AssertionError(self.seen)


def main():
    first = Terminal("docker", "run", "-it", "--name", "box", "--network", "none", "busybox", "sh")
    # The prompt is of before the size was told, which takes another request.
    for _ in range(100):
        first.type(b"echo size: $(stty size)\n")
        first.expect(b"size: $")
        first.expect(b"size: ")
        if select.select([first.ours], [], [], 1)[0]:
            first.seen += os.read(first.ours, 1024)
        if b"30 100" in first.seen:
            break
        time.sleep(0.1)
    else:
        raise AssertionError(first.seen)
    first.size(40, 120)
    first.insist(b"stty size\n", b"40 120", signal.SIGWINCH)
    first.type(b"\x10\x11")
    assert first.child.wait(30) == 0
    state = subprocess.check_output(["docker", "inspect", "-f", "{{.State.Status}}", "box"])
    assert state == b"running\n", state
    second = Terminal("docker", "attach", "box")
    second.insist(b"echo b''ack\n", b"back")
    second.leave(b"exit 5\n", 5)
    third = Terminal("docker", "start", "-ai", "box")
    third.leave(b"exit 6\n", 6)
    print("all is well")


sys.exit(main())
