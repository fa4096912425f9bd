"""Where the weights lie that a service gets from a running job: in memory, where the machine has a tmpfs."""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
from collections.abc import Collection
from pathlib import Path

from pliant.config import Home
from pliant.transfer.checkpoint_manifest import complete_checkpoints, step_of

_MEMORY = Path("/dev/shm")


class WeightsStore:
    """One service's directory, which the job's main worker writes into. It belongs to whoever holds the service's lock,
    and is found again by the next router.
    """

    def __init__(self, home: Home, service: str, *, launch: str) -> None:
        """Makes nothing yet. ``launch``: which start of the service."""
        known = hashlib.sha256(os.fsencode(home.path.absolute())).hexdigest()[:12]
        in_memory = _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK)
        self._parent = _MEMORY if in_memory else home.service(service)
        self._prefix = f"pliant-{os.getuid()}-{known}-{service}@"
        self.path = self._parent / f"{self._prefix}{launch}"

    def make(self) -> None:
        """Make it, readable by this user only.

        Raises:
            OSError: It cannot be made, or somebody else has made it.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = self.path.lstat()
        if not self.path.is_dir() or self.path.is_symlink() or about.st_uid != os.getuid() or about.st_mode & 0o077:
            raise PermissionError(f"{self.path} is not a directory of this user alone; remove it")

    def prune(self, *, keep: Collection[str], before: int) -> None:
        """Remove the weights of steps before ``before``, but for the paths in ``keep``."""
        for path in complete_checkpoints(self.path):
            if str(path) not in keep and (step_of(path) or 0) < before:
                shutil.rmtree(path, ignore_errors=True)

    def remove_earlier(self) -> None:
        """Remove what earlier starts of this service have left, whose processes were all killed."""
        for path in self._parent.glob(f"{glob.escape(self._prefix)}*"):
            if path != self.path:
                shutil.rmtree(path, ignore_errors=True)

    def remove(self) -> None:
        """Remove all of it: the service is over."""
        shutil.rmtree(self.path, ignore_errors=True)
