"""What all connections of one post share: its context, its watch, what it counts and has to tell."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Generic

import msgspec
import zmq

from pliant.comm.post.base import Event, HeaderT, Letter, Limits
from pliant.comm.post.envelope import MAX_PARTS, check_name
from pliant.comm.post.monitor import Monitor
from pliant.comm.post.watch import Watch
from pliant.timeouts import Timeouts

ROOM_LETTERS = 1000
"""That ZeroMQ itself queues for a peer; what is beyond waits in ``Outbox``."""
UNREAD_LETTERS = 10_000
"""That ZeroMQ takes from a peer. Beyond it stops reading, and drops what the peer then sends before it closes."""
MAX_READ = 256
"""Letters taken from one socket before others have their turn."""
_MORE_BYTES = 1 << 10
"""By which encryption lengthens a frame, and to spare."""

Parts = list[zmq.Frame]


class Wiring(Generic[HeaderT]):
    """One for each post. Its thread only."""

    def __init__(
        self, name: str, *, decoder: msgspec.msgpack.Decoder[HeaderT], timeouts: Timeouts, limits: Limits
    ) -> None:
        self.name = check_name(name)
        self.timeouts, self.limits = timeouts, limits
        self.context = zmq.Context()
        self.watch = Watch()
        self.events: list[Event[HeaderT]] = []
        self.dropped = 0
        self._decoder = decoder

    def now_s(self) -> float:
        """On the clock of all times here."""
        return time.monotonic()

    def socket(self, kind: int) -> zmq.Socket[bytes]:
        """A ROUTER or DEALER with the options that both have."""
        socket = self.context.socket(kind)
        options = {
            zmq.SNDHWM: ROOM_LETTERS,
            zmq.RCVHWM: UNREAD_LETTERS,
            zmq.MAXMSGSIZE: self.limits.letter_bytes + _MORE_BYTES,
            zmq.HANDSHAKE_IVL: round(1000 * self.timeouts.handshake_s),
            zmq.LINGER: 0,
        }
        for option, value in options.items():
            socket.set(option, value)
        return socket

    def monitor(self, socket: zmq.Socket[bytes]) -> Monitor:
        """Of a socket that is not connected or bound yet."""
        return Monitor(self.context, socket, timeouts=lambda: self.timeouts)

    def receive(self, socket: zmq.Socket[bytes]) -> Parts | None:
        """The next message; None: there is none now. One that is too large comes as no parts at all."""
        parts: Parts = []
        size, count = 0, 0
        while True:
            try:
                part = socket.recv(zmq.DONTWAIT, copy=False)
            except zmq.Again:
                return None
            size, count = size + len(part), count + 1
            if size <= self.limits.letter_bytes + _MORE_BYTES and count <= MAX_PARTS:
                parts.append(part)
            else:
                parts.clear()
            if not part.more:
                return parts

    def letter(self, peer: str, parts: Sequence[zmq.Frame], *, inbound: bool) -> None:
        """Tell a letter, of which ``parts`` are the header and the frames; drop it if it is malformed."""
        try:
            header = self._decoder.decode(parts[0].buffer)
        except (msgspec.MsgspecError, ValueError, RecursionError, IndexError):
            self.dropped += 1
            return
        self.events.append(Letter(peer, inbound, header, [part.buffer for part in parts[1:]]))


def text_of(parts: Sequence[zmq.Frame]) -> str:
    """A short text that a peer sent."""
    return parts[0].bytes[:200].decode("utf-8", "replace") if parts else ""


def say(socket: zmq.Socket[bytes], parts: Sequence[bytes]) -> bool:
    """Send a short message now. False: there is nobody, or no room, and then nothing was sent."""
    try:
        socket.send_multipart(parts, zmq.DONTWAIT)
    except zmq.ZMQError:
        return False
    return True
