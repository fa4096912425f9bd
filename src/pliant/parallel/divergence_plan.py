"""Compares what the workers say of their state before a step, and says who deviates, and where. Pure.

A *check* is what one worker sends: 16 bytes for each tensor, a key (made of its name) and a digest (of its bits).
Workers are compared key by key, so one that has a cache which others have not made yet is no alarm.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

KEY_BYTES = 8
DIGEST_BYTES = 8
_ENTRY_BYTES = KEY_BYTES + DIGEST_BYTES
_MISSING = b""


@dataclass(frozen=True)
class Divergence:
    """The first tensor in which workers differ."""

    tensor: str
    groups: tuple[tuple[int, ...], ...]
    """Ranks that have the same bits there, the largest group first; equal ones by their lowest rank."""
    differing: int
    """Tensors that differ."""
    compared: int
    """Tensors that all have."""

    @property
    def deviating(self) -> tuple[int, ...]:
        """Ranks that differ from the majority; empty if there is none."""
        first, *others = self.groups
        if others and len(others[0]) == len(first):
            return ()
        return tuple(sorted(rank for group in others for rank in group))


class Check:
    """What this worker tells of its state before one step. Made once; a pass that is reduced again sends the same."""

    def __init__(
        self,
        entries: Iterable[tuple[str, bytes, bool]],
        *,
        step: int,
        agreed: int | None,
        worker_of: Callable[[int], str] = "rank {}".format,
    ) -> None:
        """``entries``: name, digest, and whether a worker may lack it (or have it in another shape, which is part of
        such a name); in an order that all workers share. ``agreed``: the step before which all agreed the last time.
        """
        self.step, self.agreed = step, agreed
        self._worker_of = worker_of
        self._names: dict[bytes, str] = {}
        parts: list[bytes] = []
        for name, digest, loose in entries:
            key = key_of(name, loose=loose)
            self._names[key] = name
            parts.append(key + digest)
        self.body = b"".join(parts)

    def problem(self, checks: Mapping[int, bytes]) -> str | None:
        """What to say if the members' checks (by rank, own one included) differ; None if they agree."""
        found = compare(checks, names=self._names)
        return None if found is None else explain(found, step=self.step, agreed=self.agreed, worker_of=self._worker_of)


def key_of(name: str, *, loose: bool) -> bytes:
    """A tensor's key; its lowest bit says that a worker may lack it."""
    raw = hashlib.blake2b(name.encode(), digest_size=KEY_BYTES).digest()
    return raw[:-1] + bytes([raw[-1] & 0xFE | loose])


def compare(checks: Mapping[int, bytes], *, names: Mapping[bytes, str]) -> Divergence | None:
    """The first difference, or None.

    Args:
        checks: by rank. Empty ones do not take part: their workers did not tell.
        names: of the keys that this worker has, in their order.
    """
    tables = {rank: _table(body) for rank, body in sorted(checks.items()) if body}
    if len(tables) < 2:
        return None
    others = {key for table in tables.values() for key in table} - names.keys()
    keys = [*names, *sorted(others)]
    compared = 0
    differing: list[bytes] = []
    for key in keys:
        values = {table.get(key, _MISSING) for table in tables.values()}
        if _MISSING in values and (key[-1] & 1 or len(values) == 1):
            continue
        compared += _MISSING not in values
        if len(values) > 1:
            differing.append(key)
    if not differing:
        return None
    first = differing[0]
    groups: dict[bytes, list[int]] = {}
    for rank, table in tables.items():
        groups.setdefault(table.get(first, _MISSING), []).append(rank)
    ordered = sorted((tuple(ranks) for ranks in groups.values()), key=lambda ranks: (-len(ranks), ranks))
    tensor = names.get(first, "a tensor that not all of them have")
    return Divergence(tensor, tuple(ordered), differing=len(differing), compared=compared)


def explain(found: Divergence, *, step: int, agreed: int | None, worker_of: Callable[[int], str]) -> str:
    """What happened, what it may come from, and what to do."""
    everybody = [rank for group in found.groups for rank in group]
    if found.deviating:
        majority = list(found.groups[0])
        verb = "deviates" if len(found.deviating) == 1 else "deviate"
        who = f"{_listed(found.deviating, worker_of)} {verb} from {_listed(majority, worker_of)}"
    else:
        sides = " against ".join(_listed(group, worker_of) for group in found.groups)
        who = f"{_listed(sorted(everybody), worker_of)} disagree ({sides}), and no majority tells which is wrong"
    more = "" if found.differing == 1 else f", the first of {found.differing} of {found.compared} that differ"
    last = (
        "They had not been compared before."
        if agreed is None
        else f"They last agreed before step {agreed}: it happened in steps {agreed} to {step - 1}."
    )
    back = "the last step at which they agreed" if agreed is None else f"step {agreed}"
    return (
        f"the workers have diverged: before step {step}, {who} in {found.tensor}{more}. {last}\n"
        "Likely causes: a kernel that is not deterministic, state or code that depends on the worker (its rank, its "
        "own random generator, the clock), or a fault of a machine's memory.\n"
        f"What to do: `pliant verify SCRIPT` names the cause if it lies in the script; then resume from a checkpoint "
        f"that is no later than {back}, because one written since may hold wrong weights."
    )


def _table(body: bytes) -> dict[bytes, bytes]:
    return {
        body[start : start + KEY_BYTES]: body[start + KEY_BYTES : start + _ENTRY_BYTES]
        for start in range(0, len(body), _ENTRY_BYTES)
    }


def _listed(ranks: Sequence[int], worker_of: Callable[[int], str]) -> str:
    names = [worker_of(rank) for rank in ranks]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
