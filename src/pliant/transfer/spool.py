"""Tables that grow in files without a name, to be copied nowhere: they may be larger than memory."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import torch

from pliant.transfer.move import bytes_of


class Spool:
    """The columns of one table, as parts of it come. The files are gone when nobody holds what was in them, or dies.

    Args:
        directory: on whose disk. It is made if it is not there.

    Raises:
        OSError: it cannot be made or written to. Of ``add`` as well: disk full.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._files: dict[str, IO[bytes]] = {}
        self._kinds: dict[str, tuple[torch.dtype, torch.Size]] = {}

    def add(self, part: Mapping[str, torch.Tensor]) -> None:
        """More rows: the same columns each time, of which each has one entry for a row."""
        for name, column in part.items():
            if name not in self._files:
                self._files[name] = tempfile.TemporaryFile(dir=self._directory)  # noqa: SIM115 - lives on in its mapping
                self._kinds[name] = column.dtype, column.shape[1:]
            self._files[name].write(bytes_of(column))

    def take(self) -> dict[str, torch.Tensor]:
        """All that was added, as tensors that lie in the files; nothing is added any more."""
        files, self._files = self._files, {}
        found = {}
        for name, file in files.items():
            with file:
                file.flush()
                dtype, shape = self._kinds[name]
                size_bytes = file.tell()
                flat = torch.empty(0, dtype=dtype)
                if size_bytes:
                    flat = torch.frombuffer(mmap.mmap(file.fileno(), size_bytes), dtype=dtype)
                found[name] = flat.view(-1, *shape)
        return found
