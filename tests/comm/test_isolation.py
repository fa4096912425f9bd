"""A process without a network: its peers hear nothing more, and are not told either."""

from __future__ import annotations

import select
import socket
import subprocess
import sys

import pytest

PROCESS = """
import socket, sys, threading, time
from pliant.comm.isolation import cut_off

server = socket.create_server(("127.0.0.1", 0))
peer = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
print(server.getsockname()[1], flush=True)
got = []
reader = threading.Thread(target=lambda: got.append(peer.recv(100)), daemon=True)
reader.start()
in_recv = {"45", "207"}  # recvfrom(2) on x86-64 and on arm64
while open(f"/proc/self/task/{reader.native_id}/syscall").read().split()[0] not in in_recv:
    time.sleep(0.001)
sys.stdin.readline()
print(cut_off(), flush=True)
reader.join(10)
assert not reader.is_alive(), "a thread that reads goes on reading"
assert got == [b""], got
peer.sendall(b"into the void")
peer.setblocking(False)
try:
    print(peer.recv(100), flush=True)
except BlockingIOError:
    print("nothing", flush=True)
sys.stdin.readline()
print(cut_off(), flush=True)
peer.shutdown(socket.SHUT_RDWR)
peer.close()
print("closed", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def isolated():
    """A connection to a process, the process, and the port it listens on; the process is cut off already."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = [sys.executable, "-c", PROCESS, str(server.getsockname()[1])]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        ours, _ = server.accept()
    port = int(process.stdout.readline())
    go_on(process)
    assert process.stdout.readline() == "1\n"
    yield ours, process, port
    process.kill()
    process.wait()
    ours.close()
    process.stdin.close()
    process.stdout.close()


def go_on(process):
    process.stdin.write("\n")
    process.stdin.flush()


def test_nothing_goes_either_way_and_nobody_is_told(isolated):
    ours, process, port = isolated
    assert process.stdout.readline() == "nothing\n", "it sent, and heard nothing"
    ours.sendall(b"hello?")  # the kernel takes it, and sends it again and again
    go_on(process)
    assert process.stdout.readline() == "0\n"
    assert process.stdout.readline() == "closed\n"
    readable, _, broken = select.select([ours], [], [ours], 0.5)
    assert not readable, "bytes or an end of the connection have arrived"
    assert not broken
    tries = socket.socket()
    tries.settimeout(0.5)
    with tries, pytest.raises(TimeoutError):
        tries.connect(("127.0.0.1", port))


def test_nothing_that_is_sent_to_it_is_acknowledged(isolated):
    ours, _, _ = isolated
    ours.sendall(b"hello?")
    info = ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    assert int.from_bytes(info[24:28], sys.byteorder) > 0, "tcpi_unacked"
