"""When requests come, and how much work each is: generated with a given burstiness, or read from a trace."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import fmean, pstdev


@dataclass(frozen=True)
class Arrival:
    """One request. ``work``: rows' worth of computing, 1 for an ordinary one."""

    time_s: float
    work: float = 1.0


def bursty(*, rate: float, cv: float, duration_s: float, seed: int) -> list[Arrival]:
    """Arrivals with gamma-distributed gaps: ``rate`` a second in the mean, coefficient of variation ``cv`` of the gaps.

    With ``cv`` 1 they are Poisson; the larger it is, the denser the bursts and the longer the silence between them.
    """
    stream = random.Random(seed)
    shape = 1 / cv**2
    found, time_s = [], 0.0
    while (time_s := time_s + stream.gammavariate(shape, 1 / (rate * shape))) < duration_s:
        found.append(Arrival(time_s))
    return found


def azure_trace(path: Path) -> list[Arrival]:
    """An Azure LLM inference trace (columns TIMESTAMP, ContextTokens, GeneratedTokens), its time beginning at 0.

    The work of a request is its generated tokens and a hundredth of its context, in units of the mean request.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    times = [datetime.fromisoformat(row["TIMESTAMP"][:26]) for row in rows]
    works = [int(row["GeneratedTokens"]) + int(row["ContextTokens"]) / 100 for row in rows]
    mean = fmean(works)
    return [Arrival((t - times[0]).total_seconds(), w / mean) for t, w in zip(times, works, strict=True)]


def variation(arrivals: Sequence[Arrival]) -> float:
    """Coefficient of variation of the gaps."""
    gaps = [after.time_s - before.time_s for before, after in pairwise(arrivals)]
    return pstdev(gaps) / fmean(gaps)
