"""Processes as the kernel shows them in /proc, whoever started them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ProcessState:
    """What the system knows of a process."""

    exists: bool
    stopped: bool = False
    """By a signal (SIGSTOP), or a debugger."""
    cpu_s: float = 0.0
    """Processor time that all its threads have used."""


def process_state(pid: int) -> ProcessState:
    """What the system knows of a process; one that is a zombie does not exist any more."""
    try:
        # Behind the command, which may contain anything, even parentheses: state, then numbers.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        state, user, system = fields[0], int(fields[11]), int(fields[12])
    except (OSError, IndexError, ValueError):
        return ProcessState(exists=False)
    return ProcessState(
        exists=state not in (b"Z", b"X"),
        stopped=state in (b"T", b"t"),
        cpu_s=(user + system) / os.sysconf("SC_CLK_TCK"),
    )
