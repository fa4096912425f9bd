"""Whether the kernel has killed a process for lack of memory (OOM killer), as far as an agent can tell."""

from __future__ import annotations

from pathlib import Path

VMSTAT = Path("/proc/vmstat")


class OutOfMemoryWatch:
    """Looks at the kernel's count of its kills, over the whole machine, control groups included.

    A kill of somebody else's process at the very moment at which one of ours got a SIGKILL for another reason is
    taken for ours: that is rare, and the machine is out of memory then all the same.
    """

    def __init__(self, vmstat: Path = VMSTAT) -> None:
        self._vmstat = vmstat
        self._seen = self._count()

    def struck(self) -> bool:
        """Whether the kernel has killed anything since the last call. False where it does not count (no Linux 4.13)."""
        before, self._seen = self._seen, self._count()
        return self._seen > before

    def _count(self) -> int:
        try:
            lines = self._vmstat.read_text().splitlines()
            return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
        except (OSError, ValueError, IndexError):
            return 0
