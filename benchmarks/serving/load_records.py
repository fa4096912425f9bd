"""What the client is told, and what it tells. Times are of the machine's monotonic clock, in seconds."""

from __future__ import annotations

import msgspec


class Job(msgspec.Struct, frozen=True):
    """One client's work."""

    port: int
    path: str
    body: str
    connections: int
    """Each has one request under way at a time."""
    fresh: int = 0
    """Of them, those that make a new connection for every request, so that every process behind the port is met."""
    warm_s: float = 0.0
    seconds: float = 0.0
    """Of the window, after the warm-up; 0: until a line comes on stdin."""
    timeout_s: float = 60.0
    """A request that has no answer by then hangs: it is counted, and its connection given up."""
    pids: bool = False
    """Tell of every process that answers for the first time."""


class Failure(msgspec.Struct, frozen=True):
    """A request without an answer. ``hung``, ``cut`` (its connection was), ``refused``, or the answer's status."""

    kind: str
    began_s: float
    ended_s: float


class Note(msgspec.Struct, frozen=True, tag="note"):
    """Something has just happened: ``begun``, ``window`` (the warm-up is over), ``over`` (the window is), ``pid``."""

    at_s: float
    what: str
    pid: int = 0


class Records(msgspec.Struct, tag="records"):
    """The last line. The two lists belong together: an answer each."""

    began_s: float = 0.0
    window_begin_s: float = 0.0
    window_end_s: float = 0.0
    client_cpu_s: float = 0.0
    """The client's own, in the window."""
    ended_s: list[float] = []
    latency_s: list[float] = []
    failures: list[Failure] = []


def request_bytes(job: Job) -> bytes:
    """As they go over the wire, every time."""
    body = job.body.encode()
    head = (
        f"POST {job.path} HTTP/1.1\r\nHost: 127.0.0.1:{job.port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
