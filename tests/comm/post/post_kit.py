"""Posts of one process and what came to them, over ZeroMQ or in memory, behind one interface."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from pliant.comm.handshake import job_key
from pliant.comm.post.base import Letter, Limits, PeerConnected, PeerLost, Post
from pliant.comm.post.memory import MemoryExchange
from pliant.comm.post.place import LocalPlace, NetworkPlace, Place
from pliant.comm.post.post import PostOptions, ZmqPost
from pliant.timeouts import Timeouts

DEADLINE_S = 20.0
KEY = job_key("token", "demo")


class Note(msgspec.Struct, frozen=True):
    """Header of a letter."""

    text: str


def decoder() -> msgspec.msgpack.Decoder[Note]:
    return msgspec.msgpack.Decoder(Note)


def note(text: str) -> bytes:
    return msgspec.msgpack.encode(Note(text))


class Desk:
    """One post and all that has come out of it."""

    def __init__(self, post: Post[Note]) -> None:
        self.post = post
        self.events: list[Letter[Note] | PeerConnected | PeerLost] = []

    def letters(self, peer: str | None = None) -> list[str]:
        """Texts of those that came."""
        found = [event for event in self.events if isinstance(event, Letter)]
        return [event.header.text for event in found if peer in (None, event.peer)]

    def last(self) -> Letter[Note]:
        return next(event for event in reversed(self.events) if isinstance(event, Letter))

    def connected(self, peer: str) -> bool:
        """Whether it stands now."""
        told = [e for e in self.events if isinstance(e, PeerConnected | PeerLost) and e.peer == peer]
        return bool(told) and isinstance(told[-1], PeerConnected)

    def losses(self, peer: str) -> list[str]:
        return [event.why for event in self.events if isinstance(event, PeerLost) and event.peer == peer]


class Lab:
    """Makes posts of one kind, drives them, closes them."""

    def __init__(self, kind: str, directory: Path) -> None:
        self.kind, self.directory = kind, directory
        self.desks: list[Desk] = []
        self.exchange = MemoryExchange(seed=0)

    def post(self, name: str, *, key: bytes = KEY, listens: bool = True, **options) -> Desk:
        if self.kind == "memory":
            made: Post[Note] = self.exchange.post(name, decoder=decoder(), limits=options.get("limits"))
        else:
            place: Place = NetworkPlace("127.0.0.1") if self.kind == "tcp" else LocalPlace(self.directory)
            chosen = PostOptions(
                key, timeouts=options.get("timeouts", Timeouts()), limits=options.get("limits", Limits())
            )
            made = ZmqPost(name, decoder=decoder(), options=chosen, place=place if listens else None)
        self.desks.append(Desk(made))
        return self.desks[-1]

    def pair(self, **options) -> tuple[Desk, Desk]:
        """A worker that is connected to a server."""
        server, worker = self.post("s1", **options), self.post("w1", listens=False, **options)
        worker.post.connect("s1", server.post.endpoint)
        self.until(lambda: worker.connected("s1") and server.connected("w1"))
        return server, worker

    def until(self, condition: Callable[[], object]) -> None:
        """Drive all posts until something holds."""
        end_s = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < end_s, {desk.post.name: desk.events[-5:] for desk in self.desks}
            self.turn()

    def turn(self) -> None:
        """Drive all posts a little."""
        for _ in range(100):
            self.exchange.deliver()
        for desk in self.desks:
            desk.events += desk.post.poll(0.005)

    def close(self, desk: Desk) -> None:
        desk.post.close()
        self.desks.remove(desk)

    def close_all(self) -> None:
        with contextlib.ExitStack() as stack:
            for desk in self.desks:
                stack.callback(desk.post.close, linger_s=0.0)


def check_connections(desk: Desk, peer: str) -> list[int]:
    """What came from a peer that numbers its letters 0, 1, ... fits what connections promise; the numbers."""
    connections: list[list[int]] = []
    up = False
    for event in desk.events:
        if event.peer != peer:
            continue
        if isinstance(event, Letter):
            assert up, "a letter without a connection"
            connections[-1].append(int(event.header.text))
        else:
            assert up is isinstance(event, PeerLost), "connected twice, or lost twice"
            up = not up
            connections += [[]] if up else []
    for numbers in filter(None, connections):
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "a gap that nobody was told of"
    arrived = [number for numbers in connections for number in numbers]
    assert arrived == sorted(set(arrived)), "twice, or out of order"
    return arrived
