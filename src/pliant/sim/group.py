"""One member's end of a process group: what has arrived, and from whom nothing more will come."""

from __future__ import annotations

from typing import Any

from pliant.ids import WorkerId
from pliant.membership.events import AnnounceGeneration


class GroupOverError(Exception):
    """The group cannot go on here. ``broke``: a peer is gone; otherwise it was shut on this side."""

    def __init__(self, *, broke: bool) -> None:
        self.broke = broke
        super().__init__("group broke" if broke else "group shut")


class Group:
    """The group of one generation, seen by one worker (which may be left out by it)."""

    def __init__(self, announced: AnnounceGeneration, *, me: WorkerId) -> None:
        self.generation = int(announced.generation)
        self.kind = announced.kind
        self.members = tuple(place.worker for place in announced.members)
        self.peers = tuple(worker for worker in self.members if worker != me)
        self.leaving = me not in self.members
        self.rank = -1 if self.leaving else self.members.index(me)
        self.shut = False
        self.missing: tuple[WorkerId, ...] = ()
        """Who had not come for long, or did not answer, when it was shut."""
        self._closed: set[WorkerId] = set()
        self.unreachable: set[WorkerId] = set()
        """Peers that do not answer."""
        self._inbox: dict[tuple[str, int], dict[WorkerId, Any]] = {}

    def close(self, peer: WorkerId) -> None:
        """The connection to ``peer`` is closed; what it sent before is kept."""
        self._closed.add(peer)

    def lose(self, peer: WorkerId) -> None:
        """``peer`` does not answer any more."""
        self._closed.add(peer)
        self.unreachable.add(peer)

    @property
    def to_blame(self) -> tuple[WorkerId | None, bool]:
        """Whom this member has lost, if anybody, and whether it was closed by its own end."""
        if self.unreachable:
            return min(self.unreachable), False
        lost = self._closed.intersection(self.peers)
        return (min(lost), True) if lost else (None, False)

    def put(self, source: WorkerId, kind: str, number: int, body: Any) -> None:
        """A message has arrived."""
        if not self.shut and source not in self._closed:
            self._inbox.setdefault((kind, number), {})[source] = body

    def gather(self, kind: str, number: int, sources: tuple[WorkerId, ...] | None = None) -> dict[WorkerId, Any] | None:
        """Messages of this kind from all ``sources`` (all peers), or None while some are missing.

        Raises:
            GroupOverError: one will never come. A closed connection whose messages are all here is no failure.
        """
        if self.shut:
            raise GroupOverError(broke=False)
        got = self._inbox.get((kind, number), {})
        missing = [worker for worker in (self.peers if sources is None else sources) if worker not in got]
        if any(worker in self._closed for worker in missing):
            raise GroupOverError(broke=True)
        return None if missing else got

    @property
    def unheard(self) -> set[WorkerId]:
        """Peers that it is not connected to."""
        return set(self.peers).difference(self._inbox.get(("hello", 0), {}))

    @property
    def failed(self) -> bool:
        """It has lost a peer before it was used."""
        return self.shut or not self._closed.isdisjoint(self.peers)

    @property
    def stands(self) -> bool:
        """Connected to every peer."""
        return not self.failed and len(self._inbox.get(("hello", 0), {})) == len(self.peers)
