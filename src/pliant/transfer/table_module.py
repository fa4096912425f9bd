"""What captures, checkpoints and hashes need to know of a table: its rows are no tensors of the module."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from pliant.wire.tables import TableSpec


class TableModule(nn.Module):
    """A module whose extra state is all that is held of a table: tensors by name, ``ids`` and ``rows`` among them."""

    spec: TableSpec

    def columns(self) -> list[str]:
        """The names in the extra state."""
        raise NotImplementedError

    def row_digests(self) -> list[bytes]:
        """Of each slot (:mod:`pliant.transfer.row_digests`). Blocking: the rows may be in other processes."""
        raise NotImplementedError


def tables_of(module: nn.Module) -> Iterator[tuple[str, TableModule]]:
    """All tables in a module, with their places in it; each once."""
    for prefix, owner in module.named_modules():
        if isinstance(owner, TableModule):
            yield prefix, owner
