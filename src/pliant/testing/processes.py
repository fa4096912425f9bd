"""Processes as the kernel shows them in /proc: who lives, who is stopped, who carries a mark in its environment."""

from __future__ import annotations

from pathlib import Path

from pliant.processes import process_state

_PROC = Path("/proc")


def processes_with(setting: str) -> dict[int, str]:
    """Live processes that were started with ``NAME=value`` in their environment: pid -> command line."""
    found = {}
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if setting.encode() not in (entry / "environ").read_bytes().split(b"\0"):
                continue
            if is_alive(int(entry.name)):
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it ended while we looked, or belongs to somebody else
            continue
    return found


def is_alive(pid: int) -> bool:
    """Whether the process exists and is no zombie; a stopped one (SIGSTOP) is alive."""
    return process_state(pid).exists


def is_stopped(pid: int) -> bool:
    """Whether the process was stopped by a signal."""
    return process_state(pid).stopped
