"""The connections that others have made to a post."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Generic

import zmq

from pliant.comm.post.base import HeaderT, PeerConnected, PeerLost
from pliant.comm.post.envelope import Envelope, Kind, missing, peer_name, unpack
from pliant.comm.post.gate import Gate
from pliant.comm.post.keys import CurveKeys
from pliant.comm.post.monitor import DISCONNECTED
from pliant.comm.post.outbox import Outbox, OutgoingLetter
from pliant.comm.post.place import LocalPlace, Place, is_local, local_endpoint, network_endpoint, reached, remove_file
from pliant.comm.post.wiring import MAX_READ, Parts, Wiring, say, text_of
from pliant.errors import ConfigError

ROOM_PAUSE_S = 0.005
"""A ROUTER cannot tell when there is room for one particular peer: it is tried so often."""
_UNKNOWN = -1


@dataclass
class _Client:
    """One that is connected."""

    name: str
    connection: int
    fd: int
    outbox: Outbox
    expected: int = 0


class ServerPost(Generic[HeaderT]):
    """Listens at one place; what ``Post`` offers towards clients. Its post's thread only."""

    def __init__(self, wiring: Wiring[HeaderT], place: Place, *, keys: CurveKeys) -> None:
        """Raises ConfigError if it cannot listen there."""
        self._wiring = wiring
        self._clients: dict[str, _Client] = {}
        self._by_fd: dict[int, _Client] = {}
        self._ending: list[_Client] = []
        """Closed, but letters of theirs may be unread."""
        self._held = contextlib.ExitStack()
        self._socket = socket = wiring.socket(zmq.ROUTER)
        self._monitor = wiring.monitor(socket)
        self._gate = None if isinstance(place, LocalPlace) else Gate(wiring.context, keys)
        socket.set(zmq.ROUTER_MANDATORY, 1)
        socket.set(zmq.ROUTER_HANDOVER, 1)
        socket.set(zmq.BACKLOG, 1024)
        wiring.watch.add(socket, self._read)
        wiring.watch.add(self._monitor.socket, self._read)
        if self._gate is not None:
            self._gate.guard(socket, keys)
            wiring.watch.add(self._gate.socket, self._admit)
        self.endpoint = self._bind(place)

    def answer(self, client: str, letter: OutgoingLetter) -> OutgoingLetter | None:
        """See ``Post``."""
        known = self._clients.get(client)
        if known is None:
            return None
        known.outbox.add(letter)
        return letter if self._flush(known) else None

    def advance(self) -> None:
        """Send what waited for room."""
        for client in [each for each in self._clients.values() if each.outbox]:
            self._flush(client)

    def look(self, *, now_s: float) -> None:
        """Find out which links are dead."""
        self._monitor.look(now_s=now_s)

    @property
    def crowded(self) -> bool:
        """Letters wait for room."""
        return any(each.outbox for each in self._clients.values())

    def close(self, *, linger_ms: int) -> None:
        """Listen no more; what ZeroMQ has gets ``linger_ms`` to leave. ``clean`` is to follow."""
        self._monitor.close()
        self._socket.close(linger=linger_ms)
        if self._gate is not None:
            self._gate.close()

    def clean(self) -> None:
        """Once ZeroMQ has ended: take the file away."""
        self._held.close()
        remove_file(self.endpoint)

    def _bind(self, place: Place) -> str:
        if isinstance(place, LocalPlace):
            endpoint = local_endpoint(place.directory, self._wiring.name)
        else:
            endpoint = network_endpoint(place.host)
        try:
            self._socket.set(zmq.IPV6, int("[" in endpoint))
            self._socket.bind(reached(endpoint, self._held))
        except (OSError, zmq.ZMQError) as error:
            self._held.close()
            raise ConfigError(f"{self._wiring.name} cannot listen at {endpoint}: {error}") from error
        if is_local(endpoint):
            return endpoint
        bound = self._socket.get(zmq.LAST_ENDPOINT)
        assert isinstance(bound, bytes)
        return bound.rstrip(b"\0").decode()

    def _admit(self) -> None:
        assert self._gate is not None
        self._wiring.dropped += self._gate.answer()

    def _read(self) -> None:
        self._look()
        for _ in range(MAX_READ):
            parts = self._wiring.receive(self._socket)
            if parts is None:
                break
            self._take(parts)
        else:
            return
        for client in self._ending:
            self._lose(client, "it has closed the connection, or its link is dead")
        self._ending.clear()

    def _look(self) -> None:
        for event, fd in self._monitor.read():
            if event == DISCONNECTED and fd in self._by_fd:
                self._ending.append(self._by_fd.pop(fd))

    def _take(self, parts: Parts) -> None:
        name = peer_name(parts[0].buffer) if parts else None
        envelope = unpack(parts[1].buffer) if len(parts) > 1 else None
        if name is None or envelope is None:
            self._wiring.dropped += 1
        elif envelope.kind is Kind.HELLO:
            self._greet(name, envelope, parts)
        elif envelope.kind is Kind.LETTER:
            self._sort(name, envelope, parts)
        else:
            self._wiring.dropped += 1

    def _greet(self, name: str, envelope: Envelope, parts: Parts) -> None:
        wanted = text_of(parts[2:])
        if wanted != self._wiring.name:
            self._wiring.dropped += 1
            refusal = f"{self._wiring.name} listens there now, not {wanted}"
            say(self._socket, [name.encode(), Envelope(Kind.REFUSAL, envelope.connection).pack(), refusal.encode()])
            return
        # First what is known of connections that have ended: the new one may have the descriptor of an old one.
        self._look()
        if name in self._clients:
            self._lose(self._clients[name], "it has connected anew")
        client = _Client(name, envelope.connection, _descriptor(parts[1]), Outbox(name, self._wiring.limits))
        self._clients[name] = client
        if client.fd != _UNKNOWN:
            self._by_fd[client.fd] = client
        say(self._socket, [name.encode(), Envelope(Kind.WELCOME, envelope.connection).pack()])
        self._wiring.events.append(PeerConnected(name, inbound=True))

    def _sort(self, name: str, envelope: Envelope, parts: Parts) -> None:
        client = self._clients.get(name)
        if client is None or client.connection != envelope.connection:
            self._wiring.dropped += 1
            self._complain(name, envelope.connection, f"{self._wiring.name} does not know the connection")
        elif envelope.number < client.expected:
            self._wiring.dropped += 1
        elif lost := missing(envelope, expected=client.expected, frames=len(parts) - 3):
            why = f"{lost} to {self._wiring.name} were lost"
            self._wiring.dropped += 1
            self._complain(name, envelope.connection, why)
            self._lose(client, why)
        else:
            client.expected += 1
            self._wiring.letter(name, parts[2:], inbound=True)

    def _complain(self, name: str, connection: int, why: str) -> None:
        say(self._socket, [name.encode(), Envelope(Kind.LOSS, connection).pack(), why.encode()])

    def _flush(self, client: _Client) -> bool:
        """Send what can be sent. False: it is gone."""
        name = client.name.encode()

        def give(letter: OutgoingLetter, number: int) -> bool:
            envelope = Envelope(Kind.LETTER, client.connection, number, letter.frames)
            return letter.give(self._socket, [name, envelope.pack()])

        try:
            client.outbox.flush(give)
        except zmq.ZMQError as error:
            self._lose(client, f"it is not connected any more ({error})")
            return False
        return True

    def _lose(self, client: _Client, why: str) -> None:
        if self._clients.get(client.name) is not client:
            return
        del self._clients[client.name]
        if self._by_fd.get(client.fd) is client:
            del self._by_fd[client.fd]
        client.outbox.clear()
        self._wiring.events.append(PeerLost(client.name, inbound=True, why=why))


def _descriptor(part: zmq.Frame) -> int:
    """Of the connection that a message came by, as ZeroMQ's monitor names it."""
    try:
        return part.get(zmq.SRCFD)
    except zmq.ZMQError:
        return _UNKNOWN
