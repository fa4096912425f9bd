"""A table that is in a checkpoint: where it is, which travels in its place, and its columns without reading them."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import torch

from pliant.errors import CheckpointError, ProtocolError
from pliant.transfer.safetensors_file import map_safetensors

_KEY = "in_checkpoint"


class StoredColumn(NamedTuple):
    """Where one column is, and what it has to be."""

    file: str
    key: str
    dtype: str
    """As torch calls it."""
    shape: tuple[int, ...]

    @property
    def torch_dtype(self) -> torch.dtype:
        """Raises ProtocolError: torch has none of this name."""
        dtype = getattr(torch, self.dtype, None)
        if not isinstance(dtype, torch.dtype):
            raise ProtocolError(f"{self.dtype!r} is no dtype")
        return dtype


@dataclass(frozen=True)
class StoredRows:
    """All of one table."""

    checkpoint: Path
    """Absolute: any process of the job that needs rows reads them from there."""
    columns: dict[str, StoredColumn]

    def plain(self) -> dict[str, Any]:
        """For :func:`pliant.transfer.spec.encode`."""
        columns = {name: [*column[:3], list(column.shape)] for name, column in self.columns.items()}
        return {_KEY: str(self.checkpoint), "columns": columns}

    @classmethod
    def from_plain(cls, value: Any) -> StoredRows | None:
        """The reverse of :meth:`plain`; None: it is something else.

        Raises:
            ProtocolError: it is one, and malformed.
        """
        if not isinstance(value, dict) or _KEY not in value:
            return None
        try:
            columns = {
                str(name): StoredColumn(str(file), str(key), str(dtype), tuple(map(int, shape)))
                for name, (file, key, dtype, shape) in value["columns"].items()
            }
            return cls(Path(value[_KEY]), columns)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise ProtocolError(f"what is said of a table in a checkpoint makes no sense: {error}") from error

    def open(self) -> dict[str, torch.Tensor]:
        """The columns, which lie in the checkpoint's files: they take memory as they are looked at, and give it back.

        Checksums are not compared here.

        Raises:
            CheckpointError: they cannot be read; also if this machine does not see the checkpoint.
        """
        found = {}
        for name, column in self.columns.items():
            path = self.checkpoint / column.file
            try:
                found[name] = tensor_in(map_safetensors(path)[column.key], column.torch_dtype, column.shape)
            except (OSError, LookupError, ValueError) as error:
                raise CheckpointError(
                    f"{path} cannot be read: {type(error).__name__}: {error}. The rows of tables are not sent to other "
                    "workers: the directory of the checkpoints has to be one that all machines see"
                ) from error
        return found


def tensor_in(data: memoryview, dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    """A tensor whose memory ``data`` is.

    Raises:
        ValueError: its size is not that of such a tensor.
    """
    numel = prod(shape)
    if len(data) != numel * dtype.itemsize:
        raise ValueError(f"a tensor of {dtype} {shape} has {numel * dtype.itemsize} bytes, not {len(data)}")
    flat = torch.frombuffer(data, dtype=dtype) if numel else torch.empty(0, dtype=dtype)
    return flat.view(shape)
