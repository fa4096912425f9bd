"""The connections of a post to servers."""

from __future__ import annotations

from typing import Generic

from pliant.comm.post.base import HeaderT
from pliant.comm.post.connection import Connection
from pliant.comm.post.envelope import check_name
from pliant.comm.post.keys import CurveKeys
from pliant.comm.post.outbox import OutgoingLetter
from pliant.comm.post.wiring import Wiring


class ClientPost(Generic[HeaderT]):
    """What ``Post`` offers towards servers. Its post's thread only."""

    def __init__(self, wiring: Wiring[HeaderT], keys: CurveKeys) -> None:
        self._wiring, self._keys = wiring, keys
        self._connections: dict[str, Connection[HeaderT]] = {}

    def connect(self, server: str, endpoint: str) -> None:
        """See ``Post``."""
        known = self._connections.get(server)
        if known is not None and known.endpoint == endpoint:
            return
        self.disconnect(server)
        made = Connection(self._wiring, check_name(server), endpoint=endpoint, keys=self._keys)
        self._connections[server] = made
        made.advance(self._wiring.now_s())

    def disconnect(self, server: str) -> None:
        """See ``Post``."""
        known = self._connections.pop(server, None)
        if known is not None:
            known.close()

    def send(self, server: str, letter: OutgoingLetter) -> OutgoingLetter | None:
        """See ``Post``."""
        known = self._connections.get(server)
        if known is None:
            return None
        known.send(letter)
        return letter

    def trouble(self) -> dict[str, str]:
        """See ``Post``."""
        return {each.server: each.problem for each in self._connections.values() if each.problem is not None}

    def advance(self, now_s: float) -> None:
        """Do what is due."""
        for connection in self._connections.values():
            connection.advance(now_s)

    def look(self, *, now_s: float) -> None:
        """Find out which links are dead."""
        for connection in self._connections.values():
            connection.look(now_s=now_s)

    @property
    def crowded(self) -> bool:
        """Letters wait for room."""
        return any(each.crowded for each in self._connections.values())

    @property
    def due_s(self) -> float | None:
        """When ``advance`` wants to be called, on the monotonic clock."""
        dues = [each.due_s for each in self._connections.values()]
        return min((due_s for due_s in dues if due_s is not None), default=None)

    def close(self, *, linger_ms: int) -> None:
        """Close all connections."""
        for connection in self._connections.values():
            connection.close(linger_ms=linger_ms)
