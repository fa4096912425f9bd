"""Dealing by measured speed: what a worker's pace is, and when another deal is worth while. Pure.

Each worker says with every pass how many seconds it needs for a shard (its *pace*). So after a committed pass all
members know the same paces, and each computes the same next deal from them; nothing else is agreed on. Which worker
computes which shard changes no bit of the result, so a wrong pace costs time and nothing else.

A new deal throws away what loader processes have fetched ahead, and paces are noisy. Hence another deal is made only
if it promises to save a good part of the step, and each is kept until it has been measured.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import fsum, isfinite
from statistics import median

from pliant.membership.deal_plan import makespan_s, quotas

WINDOW = 5
"""A pace is the median of so many passes: two odd ones among them do not matter."""
KNOWN_AFTER = 3
"""Of fewer passes nothing is concluded: the first ones are slow everywhere."""
REST_PASSES = WINDOW + 1
"""So many passes after a deal all paces are of passes with that deal; until then it is kept."""
LEAST_GAIN = 0.15
"""Another deal must shorten the computing of a pass by this part of it at least ..."""
LEAST_GAIN_S = 0.002
"""... and by so many seconds: that much the operating system takes and gives at any time."""
IDLE_FACTOR = 0.5 ** (1 / 100)
"""A worker without shards is taken for a bit faster with every pass, so that it is tried again some day."""


class PaceEstimate:
    """One worker's own pace."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=WINDOW)
        self._guess: float | None = None

    @property
    def pace(self) -> float:
        """Seconds for a shard; 0: not known yet."""
        if self._guess is not None:
            return self._guess
        return median(self._recent) if len(self._recent) >= KNOWN_AFTER else 0.0

    def measured(self, seconds: float) -> None:
        """A pass is done, with ``seconds`` for each of its shards here."""
        if self._guess is not None:  # it had no shards: the first measurement is worth more than the guess
            self._recent.extend([seconds] * KNOWN_AFTER)
            self._guess = None
        self._recent.append(seconds)

    def idle(self) -> None:
        """A pass is done in which this worker had no shard."""
        if self.pace:
            self._guess = self.pace * IDLE_FACTOR
            self._recent.clear()


class Dealer:
    """The deal of one generation. Every member has one, and feeds it with the same numbers."""

    def __init__(self, paces: Sequence[float]) -> None:
        """``paces``: of each rank, as its worker says; 0: unknown."""
        self._paces = filled(paces)
        self._takes: dict[int, tuple[int, ...]] = {}
        self._passes = 0

    def takes(self, shards: int) -> tuple[int, ...]:
        """How many of ``shards`` each rank computes in a pass."""
        if shards not in self._takes:
            self._takes[shards] = tuple(
                quotas([0] * len(self._paces), missing=shards, paces=worth_it(self._paces, shards))
            )
        return self._takes[shards]

    def heard(self, paces: Sequence[float], *, shards: int) -> None:
        """A pass of ``shards`` was committed, in which the ranks said these paces."""
        self.takes(shards)  # also on a member that was told its part of this pass in another way
        self._paces = filled(paces)
        self._passes += 1
        if self._passes < REST_PASSES:
            return
        for count, takes in self._takes.items():
            better = _better(takes, self._paces)
            if better is not None:
                self._takes[count] = better
                self._passes = 0


def filled(paces: Sequence[float]) -> tuple[float, ...]:
    """The paces with the median of the known ones in place of the unknown; all alike if none is known."""
    known = [pace for pace in paces if isfinite(pace) and pace > 0]
    usual = median(known) if known else 1.0
    return tuple(pace if isfinite(pace) and pace > 0 else usual for pace in paces)


def worth_it(paces: Sequence[float], shards: int) -> tuple[float, ...]:
    """The paces, if dealing ``shards`` by them is worth while against an even deal; else none."""
    even = quotas([0] * len(paces), missing=shards)
    return () if _better(even, paces) is None else tuple(paces)


def _better(takes: Sequence[int], paces: Sequence[float]) -> tuple[int, ...] | None:
    """A deal of the same shards that is worth the change; None if there is none."""
    shards, now_s = sum(takes), makespan_s(takes, paces)
    if not _pays(now_s, shards / fsum(1.0 / pace for pace in paces)):  # not even if shards could be cut
        return None
    better = quotas([0] * len(takes), missing=shards, paces=paces)
    return tuple(better) if _pays(now_s, makespan_s(better, paces)) else None


def _pays(before_s: float, after_s: float) -> bool:
    return after_s <= (1.0 - LEAST_GAIN) * before_s and before_s - after_s >= LEAST_GAIN_S
