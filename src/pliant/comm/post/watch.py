"""Waits for any of many ZeroMQ sockets and descriptors, and calls what is to be done about those that are ready."""

from __future__ import annotations

import math
from collections.abc import Callable

import zmq

Source = zmq.Socket[bytes] | int


class Watch:
    """Used by one thread."""

    def __init__(self) -> None:
        self._poller = zmq.Poller()
        self._calls: dict[Source, Callable[[], None]] = {}

    def add(self, source: Source, call: Callable[[], None]) -> None:
        """Have ``call`` called whenever ``source`` can be read."""
        self._calls[source] = call
        self._poller.register(source, zmq.POLLIN)

    def want_room(self, source: Source, *, wanted: bool) -> None:
        """Whether also to call when ``source`` can be written."""
        self._poller.modify(source, zmq.POLLIN | zmq.POLLOUT if wanted else zmq.POLLIN)

    def remove(self, source: Source) -> None:
        """Before it is closed."""
        del self._calls[source]
        self._poller.unregister(source)

    def wait(self, timeout_s: float | None) -> None:
        """Wait until something is ready, but not longer than ``timeout_s``, and call what belongs to it."""
        # Rounded up: down, the last millisecond of every wait would be spent spinning.
        timeout_ms = None if timeout_s is None else math.ceil(1000 * max(0.0, timeout_s))
        for source, _ in self._poller.poll(timeout_ms):
            call = self._calls.get(source)
            if call is not None:  # else removed by an earlier call of this round
                call()
