"""Counts from the books of one run. Pure: lines in, numbers out."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median


@dataclass(frozen=True, order=True)
class Commit:
    """One process has committed one step."""

    time_s: float
    step: int
    process: str
    samples: tuple[int, ...] = field(compare=False)


@dataclass
class Process:
    """One book. ``computing``: what its last line says, if it is a pass that was not committed."""

    name: str
    pid: int
    began_s: float
    commits: list[Commit] = field(default_factory=list)
    computing: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)
    end_sha: str | None = None


def read_books(directory: Path) -> list[Process]:
    """All books of a run; half a last line is ignored."""
    return [found for path in sorted(directory.glob("book-*.jsonl")) if (found := parse_book(path)) is not None]


def parse_book(path: Path) -> Process | None:
    """One book; None if it has no line yet."""
    process: Process | None = None
    for line in path.read_text().split("\n")[:-1]:
        kind, time_s, step, value = json.loads(line)
        if kind == "begin":
            process = Process(path.stem, value, time_s)
        elif process is None:
            return None
        elif kind == "computes":
            process.computing.append((step, tuple(value)))
        elif kind == "commit":
            process.commits.append(Commit(time_s, step, process.name, tuple(value)))
            process.computing.clear()
        elif kind == "end":
            process.end_sha = value
    return process


class History:
    """All commits of a run in order of time."""

    def __init__(self, processes: list[Process]) -> None:
        self.processes = processes
        self.began_s = {process.name: process.began_s for process in processes}
        self.commits = sorted(commit for process in processes for commit in process.commits)
        self.rounds = self._rounds()

    def _rounds(self) -> list[list[Commit]]:
        """Commits of one step that belong together. A process that commits a step again opens another round of it."""
        rounds: list[list[Commit]] = []
        current: dict[int, list[Commit]] = {}
        for commit in self.commits:
            found = current.get(commit.step)
            if found is None or self._is_new_round(found, commit):
                found = current[commit.step] = []
                rounds.append(found)
                for step in [step for step in current if step > commit.step]:
                    del current[step]
            found.append(commit)
        return rounds

    def _is_new_round(self, found: list[Commit], commit: Commit) -> bool:
        again = any(other.process == commit.process for other in found)
        return again or self.began_s[commit.process] > found[-1].time_s

    def times_s(self) -> list[float]:
        """When each round was first committed by anyone, in order."""
        return [each[0].time_s for each in self.rounds]

    def furthest(self, before_s: float) -> int:
        """The highest step committed before then, -1 if none."""
        return max((commit.step for commit in self.commits if commit.time_s < before_s), default=-1)

    def settled_at_s(self, workers: int, *, after_s: float, exactly: bool = True) -> float | None:
        """When the first round after then had so many workers; the latest round is complete only if followed."""
        for each, following in pairwise([*self.rounds, []]):
            if each[0].time_s <= after_s or (len(each) < workers and not following):
                continue
            if len(each) == workers or (not exactly and len(each) > workers):
                return each[workers - 1].time_s
        return None

    def ordinary_s(self, before_s: float, *, workers: int, count: int = 12) -> float:
        """Median time between the last steps before then with so many workers."""
        full = [each[0].time_s for each in self.rounds if each[0].time_s < before_s and len(each) == workers]
        gaps = [after - before for before, after in pairwise(full[-count:])]
        return median(gaps) if gaps else float("nan")

    def stall_s(self, at_s: float, *, ahead: int, behind: int, ordinary_s: float) -> float | None:
        """The longest gap between rounds from ``behind`` before to ``ahead`` after a moment, less an ordinary step."""
        times_s = self.times_s()
        first = sum(time_s < at_s for time_s in times_s)
        window = times_s[max(0, first - 1 - behind) : first + ahead]
        gaps = [after - before for before, after in pairwise(window)]
        return max(gaps) - ordinary_s if gaps and first < len(times_s) else None

    # ------------------------------------------------------------ books kept right?

    def effective(self) -> dict[int, list[Commit]]:
        """For each step the commits that the final weights come from: of several rounds the last one."""
        return {each[0].step: each for each in self.rounds}

    def redone(self, after_s: float) -> int:
        """Steps that were committed once more, the second time after then."""
        seen: set[int] = set()
        again = 0
        for each in self.rounds:
            again += each[0].step in seen and each[0].time_s > after_s
            seen.add(each[0].step)
        return again

    def went_back_to_zero(self, after_s: float) -> bool:
        """Whether somebody committed one of the first steps after the others had been well beyond."""
        beyond = self.furthest(after_s) >= 5
        return beyond and any(commit.step < 2 and commit.time_s > after_s for commit in self.commits)

    def samples(self, *, of: int) -> tuple[int, int]:
        """(never trained, trained more than once) among the ``of`` samples of the one epoch.

        In the last step that a process was in before it ended unasked, its gradients may have reached the others or
        not, and what it committed there may have gone with it: its samples of that step are counted as trained, but
        not as trained twice if others have trained them, too.
        """
        effective = self.effective()
        gone = [process for process in self.processes if process.end_sha is None]
        doubtful = {sample for p in gone for step, samples in p.computing if step in effective for sample in samples}
        last = {process.commits[-1] for process in gone if process.commits}
        counts: Counter[int] = Counter()
        for commit in (commit for each in effective.values() for commit in each):
            if commit in last:
                doubtful.update(commit.samples)
            else:
                counts.update(commit.samples)
        never = sum(sample not in counts and sample not in doubtful for sample in range(of))
        return never, sum(times > 1 for times in counts.values())

    def final_hashes(self) -> set[str]:
        """Of everybody who came to the end."""
        return {process.end_sha for process in self.processes if process.end_sha is not None}
