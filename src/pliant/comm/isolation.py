"""Cuts this process off the network, for plans and tests: as if the cable had been pulled, not as if it had closed.

Every TCP connection of the process goes on to exist for its other end, which gets nothing any more, neither bytes nor
acknowledgements nor a reset. For this process each looks like a link to a machine that does not answer. There is no
way back. Linux only. Connections of a :class:`~pliant.comm.post.post.ZmqPost` need its ``isolate`` beside this.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import stat
import struct
from pathlib import Path

_SO_ATTACH_FILTER = 26
_DROP_ALL = ctypes.create_string_buffer(struct.pack("=HBBI", 0x06, 0, 0, 0))
"""One instruction of classic BPF: accept 0 bytes of each packet."""
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_KEPT_OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
)
_ROUNDS = 3
_kept: list[socket.socket] = []
"""The real connections, and both ends of those in their place: never closed, never read."""
_known: set[int] = set()
"""Their inodes."""


def cut_off() -> int:
    """Isolate this process, whatever its threads are doing. From any thread; again: what has been opened since.

    Returns:
        How many connections were cut.
    """
    cut = 0
    for _ in range(_ROUNDS):  # others may open connections meanwhile
        watched = _watched()
        cut += sum(_cut(int(name), stays=int(name) in watched) for name in os.listdir("/proc/self/fd"))
    return cut


def _watched() -> set[int]:
    """Descriptors that some epoll of this process watches, as ZeroMQ's do, which aborts when they become others."""
    found = set()
    for name in os.listdir("/proc/self/fdinfo"):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/self/fdinfo/{name}").read_text(encoding="ascii").splitlines()
            found |= {int(line.split()[1]) for line in lines if line.startswith("tfd:")}
    return found


def _cut(fd: int, *, stays: bool) -> bool:
    """Cut one descriptor off if it is a TCP socket; one that ``stays`` hears nothing more, but can be written to.

    Returns:
        Whether it was a connection.
    """
    try:
        found = os.fstat(fd)
        if not stat.S_ISSOCK(found.st_mode) or found.st_ino in _known:
            return False
        real = socket.socket(fileno=os.dup(fd))
    except OSError:  # closed meanwhile
        return False
    if real.family not in _FAMILIES or real.type != socket.SOCK_STREAM:
        real.close()
        return False
    _keep(real)
    _deafen(real)
    if real.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return False
    if stays:
        return True
    dead = _dead_connection(like=real)
    # In one step: whoever uses this descriptor, in any thread, uses the dead connection from here on.
    os.dup2(dead.fileno(), fd, inheritable=False)
    with contextlib.suppress(OSError):
        real.shutdown(socket.SHUT_RD)  # wakes threads that read; nothing of it is sent
    return True


def _deafen(sock: socket.socket) -> None:
    """Have the kernel drop whatever comes in, before TCP sees it: nothing is acknowledged, no reset is noticed."""
    program = struct.pack("@HP", 1, ctypes.addressof(_DROP_ALL))
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def _dead_connection(*, like: socket.socket) -> socket.socket:
    """A connection within this process whose near end never hears an answer, with some options of another one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    os.set_blocking(near.fileno(), os.get_blocking(like.fileno()))
    for level, option in _KEPT_OPTIONS:
        near.setsockopt(level, option, like.getsockopt(level, option))
    _deafen(near)
    _keep(near)
    _keep(far)
    return near


def _keep(sock: socket.socket) -> None:
    _kept.append(sock)
    _known.add(os.fstat(sock.fileno()).st_ino)
