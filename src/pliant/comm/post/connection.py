"""A connection to one server, as the side sees it that has made it and makes it anew when it is lost.

Every attempt is a new ZeroMQ socket with a new number: ZeroMQ's own reconnecting would send what is left in its queue
to whoever listens now, and nobody would know what is missing.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from enum import Enum, auto
from typing import Generic

import zmq

from pliant.comm.post.base import HeaderT, PeerConnected, PeerLost
from pliant.comm.post.envelope import Envelope, Kind, missing, unpack
from pliant.comm.post.keys import CurveKeys
from pliant.comm.post.monitor import FAILED, SUCCEEDED, Monitor
from pliant.comm.post.outbox import Outbox, OutgoingLetter
from pliant.comm.post.place import is_local, reached
from pliant.comm.post.wiring import MAX_READ, Parts, Wiring, say, text_of

FIRST_PAUSE_S = 0.01
"""Before the second attempt; doubled before each further one, up to ``Timeouts.look_s``."""
_NEVER_MS = 3_600_000
"""The socket is closed long before. With -1, ZeroMQ's own "never", it would drop what has come and was not read yet."""


class _Stage(Enum):
    IDLE = auto()
    """Until the next attempt."""
    REACHING = auto()
    """ZeroMQ's own handshake."""
    GREETING = auto()
    """HELLO was said: the server's process has to look."""
    UP = auto()


class Connection(Generic[HeaderT]):
    """To one server. Its post's thread only."""

    def __init__(self, wiring: Wiring[HeaderT], server: str, *, endpoint: str, keys: CurveKeys) -> None:
        self.server, self.endpoint = server, endpoint
        self.problem: str | None = "not tried yet"
        """Why it does not stand; None: it does."""
        self._wiring, self._keys = wiring, keys
        self._outbox = Outbox(server, wiring.limits)
        self._stage = _Stage.IDLE
        self._due_s = 0.0
        """When the next attempt begins, or this one is given up."""
        self._pause_s = FIRST_PAUSE_S
        self._number = self._expected = 0
        self._socket: zmq.Socket[bytes] | None = None
        self._monitor: Monitor | None = None
        self._crowded = False
        """As the watch was told."""
        self._ending: str | None = None
        """Why the attempt is over, once what came before was read."""
        self._held = contextlib.ExitStack()
        """What the current attempt holds."""

    @property
    def due_s(self) -> float | None:
        """When ``advance`` wants to be called, on the monotonic clock; None: nothing depends on time now."""
        return self._due_s if self._stage in (_Stage.IDLE, _Stage.REACHING) else None

    def advance(self, now_s: float) -> None:
        """Begin an attempt that is due, give up one that takes too long."""
        if self._stage is _Stage.IDLE and now_s >= self._due_s:
            self._begin(now_s)
        elif self._stage is _Stage.REACHING and now_s >= self._due_s:
            self._fail(f"no answer within {self._wiring.timeouts.handshake_s:g} s")

    def look(self, *, now_s: float) -> None:
        """Find out whether the link is dead."""
        if self._monitor is not None:
            self._monitor.look(now_s=now_s)

    def send(self, letter: OutgoingLetter) -> None:
        """Queue it, and send what can be sent. Raises PostFullError."""
        self._outbox.add(letter)
        self._flush()

    @property
    def crowded(self) -> bool:
        """Letters wait for room."""
        return self._stage is _Stage.UP and len(self._outbox) > 0

    def close(self, *, linger_ms: int = 0) -> None:
        """Drop what is queued here; what ZeroMQ has gets ``linger_ms`` to leave."""
        self._outbox.clear()
        if self._socket is not None:
            self._socket.set(zmq.LINGER, linger_ms)
        self._end()

    def _begin(self, now_s: float) -> None:
        self._due_s = now_s + self._wiring.timeouts.handshake_s
        self._number, self._expected, self._crowded = secrets.randbits(64), 0, False
        self._stage = _Stage.REACHING
        try:
            self._open()
        except (OSError, zmq.ZMQError) as error:
            self._fail(f"{self.endpoint}: {error}")

    def _open(self) -> None:
        address = reached(self.endpoint, self._held)
        socket = self._socket = self._wiring.socket(zmq.DEALER)
        self._held.callback(socket.close)
        monitor = self._monitor = self._wiring.monitor(socket)
        self._held.callback(monitor.close)
        self._add(socket, self._read)
        self._add(monitor.socket, lambda: self._look(monitor))
        socket.set(zmq.ROUTING_ID, self._wiring.name.encode())
        socket.set(zmq.RECONNECT_IVL, _NEVER_MS)
        if not is_local(self.endpoint):
            socket.set(zmq.IPV6, 1)
            socket.set(zmq.CURVE_SERVERKEY, self._keys.server_public)
            socket.set(zmq.CURVE_PUBLICKEY, self._keys.client_public)
            socket.set(zmq.CURVE_SECRETKEY, self._keys.client_secret)
        socket.connect(address)

    def _add(self, socket: zmq.Socket[bytes], call: Callable[[], None]) -> None:
        self._wiring.watch.add(socket, call)
        self._held.callback(self._wiring.watch.remove, socket)

    def _look(self, monitor: Monitor) -> None:
        for event, _ in list(monitor.read()):
            if event == SUCCEEDED and self._stage is _Stage.REACHING:
                self._stage = _Stage.GREETING
                self.problem = "connected, but the server's process has not answered yet"
                assert self._socket is not None
                say(self._socket, [Envelope(Kind.HELLO, self._number).pack(), self.server.encode()])
            elif event in FAILED:
                self._ending = FAILED[event]
                self._read()
                return

    def _read(self) -> None:
        for _ in range(MAX_READ):
            parts = None if self._socket is None else self._wiring.receive(self._socket)
            if parts is None:
                break
            self._take(parts)
        else:
            return
        if self._ending is not None:
            self._fail(self._ending)
        self._flush()

    def _take(self, parts: Parts) -> None:
        envelope = unpack(parts[0].buffer) if parts else None
        if envelope is None or envelope.connection != self._number:
            self._wiring.dropped += 1
        elif envelope.kind is Kind.WELCOME and self._stage is _Stage.GREETING:
            self._stage, self.problem, self._pause_s = _Stage.UP, None, FIRST_PAUSE_S
            self._wiring.events.append(PeerConnected(self.server, inbound=False))
        elif envelope.kind in (Kind.REFUSAL, Kind.LOSS):
            self._fail(text_of(parts[1:]))
        elif envelope.kind is not Kind.LETTER or self._stage is not _Stage.UP or envelope.number < self._expected:
            self._wiring.dropped += 1
        elif lost := missing(envelope, expected=self._expected, frames=len(parts) - 2):
            self._fail(f"{lost} from there were lost")
        else:
            self._expected += 1
            self._wiring.letter(self.server, parts[1:], inbound=False)

    def _flush(self) -> None:
        if self._stage is _Stage.UP and self._socket is not None:
            self._outbox.flush(self._give)
            if self._crowded != self.crowded:
                self._crowded = self.crowded
                self._wiring.watch.want_room(self._socket, wanted=self._crowded)

    def _give(self, letter: OutgoingLetter, number: int) -> bool:
        assert self._socket is not None
        return letter.give(self._socket, [Envelope(Kind.LETTER, self._number, number, letter.frames).pack()])

    def _fail(self, why: str) -> None:
        """This attempt is over, or the connection lost: the next one after a pause."""
        if self._stage is _Stage.UP:
            self._outbox.clear()
            self._wiring.events.append(PeerLost(self.server, inbound=False, why=why))
        self.problem = why
        self._end()
        self._due_s = self._wiring.now_s() + self._pause_s
        self._pause_s = min(2 * self._pause_s, self._wiring.timeouts.look_s)

    def _end(self) -> None:
        self._stage, self._socket, self._monitor, self._ending = _Stage.IDLE, None, None, None
        self._held.close()
