"""What processes use, from /proc: processor time, and memory with shared pages divided among those that share them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Memory:
    """Of one or more processes. ``pss_bytes``: private pages, and of each shared one its part."""

    pss_bytes: int = 0
    private_bytes: int = 0


def ticks_of(stat: bytes) -> int:
    """Processor time in a process's ``stat`` line: its own, and that of the children that it has outlived."""
    fields = stat.rpartition(b")")[2].split()
    return sum(int(field) for field in fields[11:15])


def memory_of(rollup: str) -> Memory:
    """What ``smaps_rollup`` says."""
    sizes = {}
    for line in rollup.splitlines()[1:]:
        name, _, rest = line.partition(":")
        sizes[name] = int(rest.split()[0]) * 1024
    return Memory(sizes["Pss"], sizes["Private_Clean"] + sizes["Private_Dirty"])


def cpu_s(pids: Iterable[int]) -> float:
    """All that they have used up to now; those that are gone count where their parent is among them."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            ticks += ticks_of(Path(f"/proc/{pid}/stat").read_bytes())
    return ticks / TICKS


def memory(pids: Iterable[int]) -> Memory:
    """Theirs together, right now."""
    pss, private = 0, 0
    for pid in pids:
        with contextlib.suppress(OSError):
            one = memory_of(Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii"))
            pss, private = pss + one.pss_bytes, private + one.private_bytes
    return Memory(pss, private)
