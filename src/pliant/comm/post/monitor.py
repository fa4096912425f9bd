"""What ZeroMQ notices of a socket's connections, as it happens, and whether their links are dead.

Not ZeroMQ's own heartbeats: their answer waits behind the frame that is being sent, so a frame that takes longer than
their time-out, as a large one on a slow link does, would end its connection again and again. A link is dead when the
other machine's kernel answers nothing (``comm/link.py``); whether a process stands still is for the coordinator to say.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

import zmq

from pliant.comm.link import LinkWatch, keep_alive, link_state
from pliant.timeouts import Timeouts

FAILED = {
    int(zmq.EVENT_CLOSED): "nobody listens there",
    int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL): "the connection ended during the handshake",
    int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL): "who listens there does not have this job's key",
    int(zmq.EVENT_HANDSHAKE_FAILED_AUTH): "who listens there does not take this job's key",
    int(zmq.EVENT_DISCONNECTED): "the connection was closed or its link is dead",
}
"""Events that end a connection, or an attempt at one."""
SUCCEEDED = int(zmq.EVENT_HANDSHAKE_SUCCEEDED)
DISCONNECTED = int(zmq.EVENT_DISCONNECTED)
_OPENED = {int(zmq.EVENT_CONNECTED), int(zmq.EVENT_ACCEPTED)}
_EVENT = struct.Struct("=HI")
_numbers = itertools.count()


class Noticed(NamedTuple):
    """``value``: for most the descriptor of the connection."""

    event: int
    value: int


class Monitor:
    """Of one socket; to be made before it connects or binds."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        watched: zmq.Socket[bytes],
        *,
        timeouts: Callable[[], Timeouts],
    ) -> None:
        """``timeouts`` is asked for each new connection: the user's choice may become known late."""
        address = f"inproc://pliant-monitor-{next(_numbers)}"
        self._watched = watched
        watched.monitor(address, sum({SUCCEEDED, *_OPENED, *FAILED}))
        self.socket = context.socket(zmq.PAIR)
        self.socket.set(zmq.LINGER, 0)
        self.socket.set(
            zmq.RCVHWM, 0
        )  # ZeroMQ's thread would wait for room, and with it all connections of the process
        self.socket.connect(address)
        self._timeouts = timeouts
        self._links: dict[int, LinkWatch] = {}
        """Of its TCP connections, by descriptor."""

    def read(self) -> Iterator[Noticed]:
        """All that has come, in order."""
        while True:
            try:
                event, _endpoint = self.socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            noticed = Noticed(*_EVENT.unpack(event))
            if noticed.event in _OPENED:
                self._opened(noticed.value)
            elif noticed.event == DISCONNECTED:
                self._links.pop(noticed.value, None)
            yield noticed

    def look(self, *, now_s: float) -> None:
        """Close connections whose links are dead, as ``read`` will tell. To be called now and then."""
        for fd, watch in self._links.items():
            sock = _borrowed(fd)
            if sock is None:
                continue
            # Closed again at once: while there is a copy, a close by ZeroMQ would not reach the peer.
            with sock, contextlib.suppress(OSError):
                if watch.is_dead(link_state(sock), now_s=now_s):
                    sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Before the socket that it watches.

        That one is told first: ZeroMQ's thread sends its next event whoever listens, and waits for ever if nobody does.
        """
        if not self._watched.closed:
            self._watched.disable_monitor()
        self.socket.close()

    def _opened(self, fd: int) -> None:
        sock = _borrowed(fd)
        if sock is None:
            return
        with sock, contextlib.suppress(OSError):
            if sock.family in (socket.AF_INET, socket.AF_INET6):
                timeouts = self._timeouts()
                keep_alive(sock, timeouts)
                self._links[fd] = LinkWatch(timeouts.unanswered_s)


def _borrowed(fd: int) -> socket.socket | None:
    """A connection of ZeroMQ's, to ask the kernel about it; None: it is closed already."""
    try:
        copy = os.dup(fd)
    except OSError:
        return None
    try:
        return socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        return None
