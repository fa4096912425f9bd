"""The connections of one process to the servers of a placement: kept as it says, and known when they were lost."""

from __future__ import annotations

from typing import Any

from pliant.comm.post.base import PeerConnected, PeerLost, Post
from pliant.wire.server_messages import PlaceSlots


class Peers:
    """Of one post; used by the post's thread."""

    def __init__(self, post: Post[Any]) -> None:
        self._post = post
        self._connected: set[str] = set()
        self._lost: set[str] = set()

    def place(self, placement: PlaceSlots) -> None:
        """Connect to whoever is in it, but to oneself, and to nobody else."""
        there = {each.server: each.endpoint for each in placement.servers if each.server != self._post.name}
        for server in self._connected - there.keys():
            self._post.disconnect(server)
        for server, endpoint in there.items():
            self._post.connect(server, endpoint)
        self._connected, self._lost = set(there), self._lost & there.keys()

    def is_back(self, event: PeerConnected | PeerLost) -> bool:
        """A server is connected that was lost before: letters to it, and from it, may be lost as well."""
        if event.inbound:
            return False
        if isinstance(event, PeerLost):
            self._lost.add(event.peer)
            return False
        back = event.peer in self._lost
        self._lost.discard(event.peer)
        return back
