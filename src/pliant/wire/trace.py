"""What each worker writes down for ``pliant verify``: one JSON object a line, in ``trace-WORKER.jsonl``.

Written by :mod:`pliant.training.trace`, read by :mod:`pliant.cli.verify_traces`. Digests are in hex.
"""

from __future__ import annotations

import msgspec


class TraceLine(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Base of all lines."""


class TraceNames(TraceLine, frozen=True):
    """The names of what the following :class:`TraceState` lines have digests of; again whenever they change."""

    names: list[str]


class TraceEntered(TraceLine, frozen=True):
    """The worker is in another generation than at its last line. ``newcomer``: it has just received the state."""

    step: int
    generation: int
    workers: list[str]
    newcomer: bool


class TraceState(TraceLine, frozen=True):
    """The state before ``step``, in the order of the names."""

    step: int
    digests: list[str]
    threads: int
    """Intra-op threads of torch."""
    changed: list[str] = []
    """Things of the script that are not tracked and were changed since the last shard, by the body of the loop."""


class TraceShard(TraceLine, frozen=True):
    """One shard was computed here."""

    step: int
    pass_number: int
    """Within the step."""
    shard: int
    batch: str
    loss: str
    """Hexadecimal, exact."""
    drawn: str
    """Where torch's, Python's and NumPy's global random streams stood afterwards."""
    threads: int
    stream: bool = False
    """The loader's dataset is a function that is asked for each shard's stream."""
    changed: list[str] = []
    """Things of the script that are not tracked and were changed while the shard was computed."""


class TraceMean(TraceLine, frozen=True):
    """The mean gradient of a pass."""

    step: int
    pass_number: int
    gradient: str


Line = TraceNames | TraceEntered | TraceState | TraceShard | TraceMean
