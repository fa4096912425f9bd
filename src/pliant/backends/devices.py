"""Which GPUs this node has, and which of them the next worker gets. Needs no torch and no driver calls."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

_DEVICE_FILE = re.compile(r"nvidia\d+")


def visible_gpus(environ: Mapping[str, str] | None = None, *, dev: Path = Path("/dev")) -> list[str]:
    """Names for ``CUDA_VISIBLE_DEVICES``, one per GPU that a worker may use; empty without any.

    ``CUDA_VISIBLE_DEVICES`` is obeyed as CUDA itself does: names after an empty or negative one do not count.
    Without it, each ``/dev/nvidia0``, ``/dev/nvidia1``, ... is one GPU.
    """
    wanted = (os.environ if environ is None else environ).get("CUDA_VISIBLE_DEVICES")
    files = sorted(p.name for p in dev.glob("nvidia*") if _DEVICE_FILE.fullmatch(p.name))
    if wanted is None:
        return [str(index) for index in range(len(files))]
    names: list[str] = []
    for name in (part.strip() for part in wanted.split(",")):
        if not name or name.startswith("-"):
            break
        names.append(name)
    return names


class Devices:
    """Deals GPUs to workers: always the one with the fewest workers on it, the first of several."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = list(names)
        self._held: dict[str, str] = {}

    def take(self, worker: str) -> dict[str, str]:
        """The environment that gives ``worker`` its GPU; empty when there is none."""
        if not self._names:
            return {}
        load = dict.fromkeys(self._names, 0)
        for name in self._held.values():
            load[name] += 1
        device = min(self._names, key=lambda name: load[name])
        self._held[worker] = device
        return {"CUDA_VISIBLE_DEVICES": device}

    def hold(self, worker: str, device: str) -> None:
        """``worker`` has this one already."""
        if device in self._names:
            self._held[worker] = device

    def give_back(self, worker: str) -> None:
        """``worker`` is gone."""
        self._held.pop(worker, None)
