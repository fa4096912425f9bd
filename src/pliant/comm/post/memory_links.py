"""The connections between the posts of a simulation: what is under way on each, and in which order it gets there."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol

from pliant.comm.post.base import Buffer, Limits, PeerConnected, PeerLost, PostFullError
from pliant.comm.post.envelope import check_letter


class Receiver(Protocol):
    """A post, as its connections see it."""

    name: str

    def take(self, peer: str, letter: MemoryLetter, *, inbound: bool) -> None:
        """A letter has arrived."""
        ...

    def tell(self, event: PeerConnected | PeerLost) -> None:
        """Something has happened to a connection."""
        ...


class MemoryLetter:
    """A letter under way. Implements ``Sent``: done once it has arrived or is lost."""

    def __init__(self, header: bytes, frames: Sequence[Buffer], limits: Limits) -> None:
        self.header = header
        self.frames = [memoryview(frame) for frame in frames]
        self.limits = limits
        self.done = False
        check_letter(header, self.frames, limits)

    def wait(self, timeout_s: float) -> bool:
        """See ``Sent``; nothing happens while one waits."""
        return self.done

    def arrive(self) -> None:
        """Copied only now, and not when it was sent: who writes to memory that is under way is found out."""
        self.frames = [memoryview(bytes(frame)) for frame in self.frames]
        self.done = True


class _Told(Enum):
    """What travels beside letters."""

    HELLO = auto()
    WELCOME = auto()
    LOSS = auto()


@dataclass(eq=False)
class _End:
    """One side of a connection."""

    post: Receiver
    peer: str
    """At the other side."""
    inbound: bool
    coming: deque[MemoryLetter | _Told] = field(default_factory=deque)
    """Under way to this side."""
    up: bool = False
    """As far as who uses the post can know: until ``poll`` has told the loss."""
    over: bool = False
    """The loss has arrived here, or the process ended."""
    last: MemoryLetter | None = None
    """That has arrived."""


@dataclass(eq=False)
class _Wire:
    """One connection, from HELLO to its end."""

    client: _End
    server: _End
    broken: bool = False
    """What is sent goes nowhere, though a side may not know it yet."""

    @property
    def ends(self) -> tuple[_End, _End]:
        return self.client, self.server


@dataclass(eq=False)
class _Link:
    """That a post wants a connection to a server."""

    client: Receiver
    server: str
    place: str
    wire: _Wire | None = None
    waiting: deque[MemoryLetter] = field(default_factory=deque)
    """Until a connection stands."""


class Links:
    """All of them; see ``MemoryExchange`` and ``MemoryPost`` for what each call is."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._posts: dict[str, Receiver] = {}
        self._links: dict[tuple[str, str], _Link] = {}
        self._wires: list[_Wire] = []

    def add(self, post: Receiver) -> None:
        """A post begins to listen."""
        self._posts[post.name] = post
        self._reach()

    def remove(self, name: str, *, losing: bool) -> None:
        """A post is there no more; ``losing``: and of what it sent only a part still arrives."""
        post = self._posts.pop(name, None)
        for key, link in list(self._links.items()):
            if link.client is post:
                _forget(self._links.pop(key).waiting)
        for wire in self._wires:
            for end in wire.ends:
                if end.post is post:
                    self._leave(wire, end, losing=losing)
        self._reach()

    def connect(self, client: str, server: str, *, place: str) -> None:
        """See ``Post``."""
        known = self._links.get((client, server))
        if client not in self._posts or (known is not None and known.place == place):
            return
        self.disconnect(client, server)
        self._links[client, server] = _Link(self._posts[client], server, place)
        self._reach()

    def disconnect(self, client: str, server: str) -> None:
        """See ``Post``."""
        link = self._links.pop((client, server), None)
        if link is not None:
            _forget(link.waiting)
            if link.wire is not None:
                self._leave(link.wire, link.wire.client, losing=True)

    def send(self, client: str, server: str, *, letter: MemoryLetter) -> MemoryLetter | None:
        """See ``Post``."""
        link = self._links.get((client, server))
        if link is None:
            return None
        if link.wire is not None and link.wire.client.up:
            return _under_way(link.wire, link.wire.server, letter)
        if len(link.waiting) >= letter.limits.queued_letters:
            raise PostFullError(f"{server} takes nothing: {len(link.waiting)} letters wait for it")
        link.waiting.append(letter)
        return letter

    def answer(self, server: str, client: str, *, letter: MemoryLetter) -> MemoryLetter | None:
        """See ``Post``."""
        for wire in self._wires:
            if wire.server.up and (wire.server.post.name, wire.server.peer) == (server, client):
                return _under_way(wire, wire.client, letter)
        return None

    def trouble(self, client: str) -> dict[str, str]:
        """See ``Post``."""
        mine = [link for link in self._links.values() if link.client.name == client]
        return {link.server: "not connected" for link in mine if link.wire is None or not link.wire.client.up}

    def break_link(self, client: str, server: str) -> None:
        """See ``MemoryExchange``; nothing if there is no connection now."""
        link = self._links.get((client, server))
        if link is not None and link.wire is not None:
            self._break(link.wire, losing=True)

    def repeat(self, sender: str, receiver: str) -> bool:
        """See ``MemoryExchange``."""
        for wire in self._wires:
            for end in wire.ends:
                if end.up and end.last is not None and (end.peer, end.post.name) == (sender, receiver):
                    end.coming.appendleft(end.last)
                    return True
        return False

    def polled(self, name: str) -> None:
        """A post has told what has happened so far."""
        for wire in self._wires:
            for end in wire.ends:
                if end.over and end.post.name == name:
                    end.up = False
        self._reach()

    def deliver(self) -> bool:
        """See ``MemoryExchange``."""
        busy = [(wire, end) for wire in self._wires for end in wire.ends if end.coming]
        if not busy:
            return False
        wire, end = self._random.choice(busy)
        what = end.coming.popleft()
        if isinstance(what, MemoryLetter):
            what.arrive()
            end.last = what
            end.post.take(end.peer, what, inbound=end.inbound)
        elif what is _Told.LOSS:
            self._end(end)
        elif what is _Told.HELLO:
            self._welcome(wire)
        else:
            self._stand(wire)
        return True

    def _reach(self) -> None:
        """Begin the connections that are wanted and can be."""
        self._wires = [wire for wire in self._wires if any(end.up or not end.over for end in wire.ends)]
        for link in self._links.values():
            server = self._posts.get(link.place)
            if link.wire not in self._wires and server is not None and server.name == link.server:
                link.wire = _Wire(_End(link.client, server.name, False), _End(server, link.client.name, True))
                link.wire.server.coming.append(_Told.HELLO)
                self._wires.append(link.wire)

    def _welcome(self, wire: _Wire) -> None:
        """The server's side of a new connection; older ones from the same peer are over by that."""
        for older in self._wires:
            if older is not wire and (older.server.post, older.server.peer) == (wire.server.post, wire.server.peer):
                _forget(older.server.coming)
                self._end(older.server)
        self._connected(wire.server)
        if not wire.broken:
            wire.client.coming.append(_Told.WELCOME)

    def _stand(self, wire: _Wire) -> None:
        """The client's side: what has waited leaves."""
        self._connected(wire.client)
        link = self._links[wire.client.post.name, wire.client.peer]
        while link.waiting:
            _under_way(wire, wire.server, link.waiting.popleft())

    def _connected(self, end: _End) -> None:
        end.up = True
        end.post.tell(PeerConnected(end.peer, end.inbound))

    def _leave(self, wire: _Wire, end: _End, *, losing: bool) -> None:
        """This side ends the connection, and hears no more of it."""
        self._break(wire, losing=losing)
        _forget(end.coming)
        end.up, end.over = False, True

    def _break(self, wire: _Wire, *, losing: bool) -> None:
        if wire.broken:
            return
        wire.broken = True
        for end in wire.ends:
            if losing:
                kept = self._random.randint(0, len(end.coming))
                _forget(deque(end.coming.pop() for _ in range(len(end.coming) - kept)))
            if not end.over:
                end.coming.append(_Told.LOSS)

    def _end(self, end: _End) -> None:
        """This side learns that the connection is lost."""
        if end.up and not end.over:
            end.post.tell(PeerLost(end.peer, end.inbound, "the connection is lost"))
        end.over = True
        self._reach()


def _under_way(wire: _Wire, to: _End, letter: MemoryLetter) -> MemoryLetter:
    if wire.broken:
        letter.done = True
    else:
        to.coming.append(letter)
    return letter


def _forget(queue: deque[MemoryLetter | _Told] | deque[MemoryLetter]) -> None:
    for item in queue:
        if isinstance(item, MemoryLetter):
            item.done = True
    queue.clear()
