"""Members that all live and yet cannot reach each other: which of them goes. Pure.

A member accuses those that do not answer it, or that it has not reached for long, while nobody has died. (A peer that
closed its end is a weaker case: it does so as well when it has lost somebody else.) Once is an accident (a
connection was reset), and everybody stays. When the generation formed after it fails too, the network between some
members is broken, although each of them reaches the coordinator. Then one goes, the others train on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pliant.ids import WorkerId, worker_number

MAX_DEATHLESS_BREAKS = 5
"""So many groups in a row that broke without a death, and were formed again: the links break under load only."""


@dataclass
class Accusations:
    """Who accuses whom, over the generations since the last one that gave no cause."""

    _sure: dict[WorkerId, set[WorkerId]] = field(default_factory=dict)
    _weak: dict[WorkerId, set[WorkerId]] = field(default_factory=dict)
    _breaks: int = 0

    def add(self, accuser: WorkerId, accused: WorkerId, *, sure: bool) -> None:
        """``accuser`` gets no answer from ``accused``, or (not ``sure``) saw it close its end."""
        if accuser != accused:
            (self._sure if sure else self._weak).setdefault(accused, set()).add(accuser)

    def forget(self) -> None:
        """A death has explained it, or a planned change went well."""
        self._sure.clear()
        self._weak.clear()
        self._breaks = 0

    def broke(self, among: Sequence[WorkerId], *, entered_by_all: bool) -> WorkerId | None:
        """A generation broke without a death: who has to go, if anybody.

        Args:
            among: the live members; what others say or are accused of does not count.
            entered_by_all: all members had entered it.
        """
        self._breaks += 1
        enough = MAX_DEATHLESS_BREAKS if entered_by_all else 2
        if self._breaks < enough:
            return None
        return self.most_accused(among)

    def most_accused(self, among: Sequence[WorkerId]) -> WorkerId | None:
        """The one that the most others accuse, the youngest of several; None if nobody is accused by anybody else.

        The weaker accusations count only where there are no others.
        """
        there = set(among)
        for accusers in (self._sure, self._weak):
            counts = {worker: len(accusers.get(worker, set()) & there) for worker in among}
            most = max(counts.values(), default=0)
            if most:
                return max((worker for worker, count in counts.items() if count == most), key=worker_number)
        return None
