"""How much a training process takes at most, beyond what it had with its model built and nothing else."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch._dynamo  # noqa: F401 - the first optimizer step would load it: it belongs to neither system


def _status_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


class PeakMemory:
    """Resident bytes at the peak minus those at construction. Linux only; elsewhere nothing is written."""

    def __init__(self) -> None:
        self._before = 0
        self._works = os.access("/proc/self/clear_refs", os.W_OK)
        if self._works:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
            self._before = _status_bytes("VmRSS")

    def write(self, directory: str, name: str) -> None:
        """Leave the result as ``NAME-PID.memory`` in ``directory``."""
        if self._works and directory:
            peak = _status_bytes("VmHWM") - self._before
            Path(directory, f"{name}-{os.getpid()}.memory").write_text(json.dumps(peak), encoding="ascii")


def read_peaks(directory: Path, name: str) -> list[int]:
    """What the processes of one job left, in bytes."""
    return [json.loads(path.read_text(encoding="ascii")) for path in sorted(directory.glob(f"{name}-*.memory"))]
