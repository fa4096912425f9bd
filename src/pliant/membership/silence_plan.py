"""Which workers hang: what is heard of them, and what their processes are seen to do. Pure.

Silence alone does not tell a worker that hangs from one that computes in C and lets no other thread run. So from half
of the patience on its agent is asked to look at its process. Stopped, or using no processor time: it hangs, and
is expelled. Busy: it is given six times as long.

Silence only counts while the coordinator itself was awake to listen. Times here are read from a clock that stands still
while it did (suspended machine, SIGSTOP, overload): a look that comes late counts as :data:`LONGEST_GAP_S`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from pliant.timeouts import Timeouts

LONGEST_GAP_S = 1.0
BUSY_SHARE = 0.05
"""A process that uses less of a processor than this only waits: threads that wake up now and then use 1 %."""
_KEPT_LOOKS = 4


@dataclass(frozen=True)
class ProcessLook:
    """What an agent has seen of a worker's process."""

    at_s: float
    """When its answer came."""
    stopped: bool
    cpu_s: float
    """Processor time that it has used in its life."""


@dataclass(frozen=True)
class Sight:
    """What is known of one worker that was connected once and whose process has not been seen to end."""

    worker: str
    heard_s: float
    """When the last message came. Only that it changes matters."""
    owing: bool = False
    """Others wait for its answer to an interrupt."""
    expelled: bool = False
    look: ProcessLook | None = None
    """The newest one."""


@dataclass(frozen=True)
class Finding:
    """What follows for one worker.

    ``probe``: have its agent look at it. ``slow``: it is silent and busy, said once. ``expel``: it hangs.
    ``kill``: it was expelled and has not left.
    """

    what: Literal["probe", "slow", "expel", "kill"]
    worker: str
    detail: str = ""


@dataclass
class _Watched:
    heard_s: float
    heard_at_s: float
    owing_since_s: float | None = None
    expelled_at_s: float | None = None
    killed_at_s: float = 0.0
    probed_at_s: float | None = None
    slow_said: bool = False
    looks: list[ProcessLook] = field(default_factory=list)

    def silence_s(self, now_s: float) -> float:
        """Since it was heard, or since others wait for its answer, whichever is longer."""
        owed_s = 0.0 if self.owing_since_s is None else now_s - self.owing_since_s
        return max(now_s - self.heard_at_s, owed_s)


class SilenceWatch:
    """Watches the workers of one job. Call :meth:`look` a few times a second."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._times = timeouts
        self._awake_s = 0.0
        self._looked_s: float | None = None
        self._watched: dict[str, _Watched] = {}

    def look(self, sights: Iterable[Sight], *, now_s: float) -> list[Finding]:
        """What follows from what is seen now. Who is not among ``sights`` is forgotten."""
        gap_s = 0.0 if self._looked_s is None else now_s - self._looked_s
        self._looked_s = now_s
        self._awake_s += min(max(gap_s, 0.0), longest_gap_s(self._times))
        known, self._watched = self._watched, {}
        findings: list[Finding] = []
        for sight in sights:
            watched = self._watched[sight.worker] = known.get(sight.worker) or _Watched(sight.heard_s, self._awake_s)
            self._note(watched, sight)
            findings += self._judge(watched, sight)
        return findings

    def _note(self, watched: _Watched, sight: Sight) -> None:
        now_s = self._awake_s
        if sight.heard_s != watched.heard_s:
            watched.heard_s, watched.heard_at_s = sight.heard_s, now_s
        if not sight.owing:
            watched.owing_since_s = None
        elif watched.owing_since_s is None:
            watched.owing_since_s = now_s
        if not sight.expelled:
            watched.expelled_at_s = None
        elif watched.expelled_at_s is None:
            watched.expelled_at_s = now_s
        look = sight.look
        if look is not None and (not watched.looks or look.at_s != watched.looks[-1].at_s):
            watched.looks = [*watched.looks[1 - _KEPT_LOOKS :], look]

    def _judge(self, watched: _Watched, sight: Sight) -> Iterator[Finding]:
        times, now_s = self._times, self._awake_s
        if watched.expelled_at_s is not None:
            # One that speaks again has woken up, and is on its way out; but not for ever.
            awake_s = min(watched.heard_at_s, watched.expelled_at_s + times.busy_s)
            waited_s = now_s - max(watched.expelled_at_s, awake_s, watched.killed_at_s)
            if waited_s >= times.kill_s:
                watched.killed_at_s = now_s
                yield Finding("kill", sight.worker)
            return
        silence_s = watched.silence_s(now_s)
        if silence_s < times.probe_s:
            watched.probed_at_s, watched.slow_said, watched.looks = None, False, []
            return
        if watched.probed_at_s is None or now_s - watched.probed_at_s >= times.probe_every_s:
            watched.probed_at_s = now_s
            yield Finding("probe", sight.worker)
        if silence_s < times.silent_s:
            return
        seen, busy = _process(watched.looks)
        if busy and silence_s < times.busy_s:
            if not watched.slow_said:
                watched.slow_said = True
                yield Finding("slow", sight.worker, f"silent for {silence_s:.1f} s, but {seen}")
        elif seen or silence_s >= times.hang_s:
            seen = seen or "its agent does not say what its process does"
            watched.expelled_at_s = now_s
            yield Finding("expel", sight.worker, f"silent for {silence_s:.1f} s, and {seen}")


def longest_gap_s(times: Timeouts) -> float:
    """A look that comes later than this after the one before counts as if it had come then."""
    return min(LONGEST_GAP_S, times.patience_s / 4)


def _process(looks: list[ProcessLook]) -> tuple[str, bool]:
    """What the process does, in words (empty: not known), and whether it is busy."""
    if looks and looks[-1].stopped:
        return "its process is stopped", False
    if len(looks) < 2:
        return "", False
    first, last = looks[0], looks[-1]
    used_s, passed_s = last.cpu_s - first.cpu_s, last.at_s - first.at_s
    if used_s >= BUSY_SHARE * passed_s:
        return f"its process is busy: {used_s:.1f} s of processor time in {passed_s:.1f} s", True
    return "its process only waits", False
