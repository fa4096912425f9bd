"""Posts within one process and one thread, for simulations: nothing happens by itself, all chance comes from a seed.

The exchange moves one thing at a time, on a connection that it draws: letters between two peers keep their order,
those of different pairs do not, nor do the two directions. Connections can be broken at any point and peers killed;
some of what was under way then still arrives and the rest is lost, as on a network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic

import msgspec

from pliant.comm.post.base import Buffer, Event, HeaderT, Letter, Limits, PeerConnected, PeerLost
from pliant.comm.post.envelope import check_name
from pliant.comm.post.memory_links import Links, MemoryLetter

_SCHEME = "memory://"


class MemoryExchange:
    """Where all posts of a simulation meet. Every ``deliver`` moves one thing."""

    def __init__(self, seed: int) -> None:
        self._links = Links(seed)

    def post(
        self, name: str, *, decoder: msgspec.msgpack.Decoder[HeaderT], limits: Limits | None = None
    ) -> MemoryPost[HeaderT]:
        """A post by this name, to which others can connect."""
        made = MemoryPost(check_name(name), links=self._links, decoder=decoder, limits=limits or Limits())
        self._links.add(made)
        return made

    def deliver(self) -> bool:
        """Move one thing on. False: nothing is under way."""
        return self._links.deliver()

    def deliver_all(self) -> None:
        """Until nothing is under way."""
        while self._links.deliver():
            pass

    def break_link(self, client: str, server: str) -> None:
        """The connection ends, and is made anew: of what is under way in each direction a part arrives, no more."""
        self._links.break_link(client, server)

    def kill(self, name: str) -> None:
        """The process ends: its post sends and hears nothing more, its peers are told, each in its time."""
        self._links.remove(name, losing=True)

    def repeat(self, sender: str, receiver: str) -> bool:
        """Have the last letter that arrived this way arrive once more. False: none has, or they are not connected."""
        return self._links.repeat(sender, receiver)


class MemoryPost(Generic[HeaderT]):
    """Implements ``Post``; made by ``MemoryExchange.post``. ``poll`` never waits."""

    def __init__(self, name: str, *, links: Links, decoder: msgspec.msgpack.Decoder[HeaderT], limits: Limits) -> None:
        self.name = name
        self._links, self._decoder, self._limits = links, decoder, limits
        self._dropped = 0
        self._events: list[Event[HeaderT]] = []

    @property
    def endpoint(self) -> str:
        """See ``Post``."""
        return _SCHEME + self.name

    @property
    def dropped(self) -> int:
        """See ``Post``."""
        return self._dropped

    def connect(self, server: str, endpoint: str) -> None:
        """See ``Post``."""
        self._links.connect(self.name, check_name(server), place=endpoint.removeprefix(_SCHEME))

    def disconnect(self, server: str) -> None:
        """See ``Post``."""
        self._links.disconnect(self.name, server)
        self._events = [event for event in self._events if event.inbound or event.peer != server]

    def send(self, server: str, header: bytes, frames: Sequence[Buffer] = ()) -> MemoryLetter | None:
        """See ``Post``."""
        return self._links.send(self.name, server, letter=MemoryLetter(header, frames, self._limits))

    def answer(self, client: str, header: bytes, frames: Sequence[Buffer] = ()) -> MemoryLetter | None:
        """See ``Post``."""
        return self._links.answer(self.name, client, letter=MemoryLetter(header, frames, self._limits))

    def poll(self, timeout_s: float | None = None) -> list[Event[HeaderT]]:
        """See ``Post``; what has been delivered so far."""
        events, self._events = self._events, []
        self._links.polled(self.name)
        return events

    def wake(self) -> None:
        """See ``Post``; ``poll`` never waits."""

    def trouble(self) -> dict[str, str]:
        """See ``Post``."""
        return self._links.trouble(self.name)

    def close(self, *, linger_s: float | None = None) -> None:
        """See ``Post``; what is under way arrives."""
        self._links.remove(self.name, losing=False)

    def take(self, peer: str, letter: MemoryLetter, *, inbound: bool) -> None:
        """A letter has arrived."""
        try:
            header = self._decoder.decode(letter.header)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            self._dropped += 1
            return
        self._events.append(Letter(peer, inbound, header, [memoryview(bytearray(frame)) for frame in letter.frames]))

    def tell(self, event: PeerConnected | PeerLost) -> None:
        """Something has happened to a connection."""
        self._events.append(event)
