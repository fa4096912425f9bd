"""``pliant.Embedding``: a table of rows by integer id, without a size; the part of it that scripts see.

Rows live in a :class:`~pliant.parallel.tables.row_store.RowStore`: in this process under plain ``python``, on the
parameter servers in a job that has some. They are no parameters of the module: autograd gives the gradients of the rows
that a shard has looked up, and the pass takes them from here (:mod:`~pliant.parallel.tables.row_sums`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import nn

from pliant.errors import ConfigError, UsageError
from pliant.parallel.tables.lookup import POOL_MODES, PoolMode, find_bags, find_unique, gather, pool
from pliant.parallel.tables.merge import RowGrads, merge_rows
from pliant.parallel.tables.row_store import RowStore
from pliant.parallel.tables.snapshot import (
    SlotParts,
    Snapshot,
    check_columns,
    columns_of,
    join_snapshots,
    without_expired,
)
from pliant.transfer.row_digests import digest_rows
from pliant.transfer.stored_rows import StoredRows
from pliant.transfer.table_module import TableModule
from pliant.wire.server_messages import SLOTS
from pliant.wire.tables import RowInit, RowOptimizer, TableSpec


class RowSource(Protocol):
    """Where a table's rows are, if not in this process."""

    @property
    def step(self) -> int:
        """Of the update that comes next."""
        ...

    def pull(self, table: str, ids: torch.Tensor) -> torch.Tensor:
        """Rows of rising ids, (n,) int64: (n, dim) float32. Blocking."""
        ...

    @property
    def among_workers(self) -> bool:
        """The state that is asked for goes to another worker of this job."""
        ...

    def state(self, table: str) -> dict[str, torch.Tensor] | None:
        """All of the table without what has expired; None: it is here. Blocking."""
        ...

    def row_digests(self, table: str) -> list[bytes] | None:
        """Of each slot, without what has expired; None: the table is here. Blocking."""
        ...


class Embedding(TableModule):
    """A table with a row of ``dim`` numbers for each 64-bit integer id, trained by its own optimizer.

    A row is a function of (``seed``, ``name``, id) until it is updated for the first time; only updated rows take
    memory. They are updated with the mean gradient of each pass, when the pass is committed: no ``step()`` is to be
    called.

    Belongs into a tracked module, or is tracked itself: ``pliant.join(model=model, users=users, ...)``.

    Args:
        name: of the table, unique in the script.
        dim: numbers in a row.
        optimizer: ``pliant.RowSGD``, ``pliant.RowAdagrad`` or ``pliant.RowAdam``.
        seed: of the initial rows.
        init: how they are drawn.
        expire_after_steps: rows that no step has updated for so long are forgotten.
        min_count: an id has a row of its own once it has been updated so many times.
        max_rows: that one server holds at most.

    Raises:
        ConfigError: impossible values; names all of them.
    """

    def __init__(  # noqa: PLR0913 - all but the first two by keyword, and flat for the user
        self,
        name: str,
        dim: int,
        *,
        optimizer: RowOptimizer,
        seed: int = 0,
        init: RowInit | None = None,
        expire_after_steps: int | None = None,
        min_count: int = 1,
        max_rows: int | None = None,
    ) -> None:
        super().__init__()
        self.spec = TableSpec(
            name=name,
            dim=dim,
            optimizer=optimizer,
            seed=seed,
            init=init or RowInit(),
            expire_after_steps=expire_after_steps,
            min_count=min_count,
            max_rows=max_rows,
        )
        self.store = RowStore(self.spec)
        self.source: RowSource | None = None
        self.in_job = False
        """Somebody takes the gradients. Set by the runtime."""
        self.step = 1
        """Of the update that comes next. Set by the runtime."""
        self._looked_up: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._stored: StoredRows | None = None
        """In a job: the rows that it begins with are there, and not in ``store``."""
        self._parts: SlotParts | None = None
        """Of what is stored, once somebody wants it."""

    def forward(
        self, ids: torch.Tensor, offsets: torch.Tensor | None = None, *, mode: PoolMode | None = None
    ) -> torch.Tensor:
        r"""Look rows up.

        Args:
            ids: integers of any shape.
            offsets: (b,): where in ``ids``, which then is flat, each bag begins, as for ``torch.nn.EmbeddingBag``.
            mode: with offsets: ``"sum"`` (default), ``"mean"`` or ``"max"`` of each bag; empty ones give zeros.

        Returns:
            float32: (\*ids.shape, dim), or (b, dim) with offsets.

        Raises:
            UsageError: ids or offsets are not as described.
        """
        if mode is not None and (offsets is None or mode not in POOL_MODES):
            raise UsageError(
                f'table {self.spec.name}: mode={mode!r} wants offsets, and is one of "sum", "mean" and "max"'
            )
        lookup = find_unique(ids)
        rows = self._pull(lookup.ids)
        if torch.is_grad_enabled() and self.training:
            if not self.in_job:
                raise UsageError(
                    f"table {self.spec.name} is looked up for training, but belongs to no job: put it into a tracked "
                    f"module, or track it itself: pliant.join(..., {self.spec.name}=...)"
                )
            rows.requires_grad_()
            self._looked_up.append((lookup.ids, rows))
        if offsets is None:
            return gather(rows, lookup)
        return pool(rows, lookup, find_bags(offsets, places=ids.numel()), mode=mode or "sum")

    def extra_repr(self) -> str:
        """For ``print(model)``."""
        return f"{self.spec.name!r}, dim={self.spec.dim}, optimizer={self.spec.optimizer}"

    def take_gradients(self) -> RowGrads:
        """Of all that was looked up since the last call, added up in that order. For the runtime."""
        looked_up, self._looked_up = self._looked_up, []
        total = RowGrads(torch.empty(0, dtype=torch.int64), torch.empty(0, self.spec.dim))
        for ids, rows in looked_up:
            if rows.grad is not None:
                total = merge_rows(total, RowGrads(ids, rows.grad))
        return total

    def get_extra_state(self) -> dict[str, torch.Tensor]:
        """All rows that have not expired, as :mod:`pliant.parallel.tables.snapshot` describes; for ``state_dict``.

        Rows that servers hold lie in a file without a name, which goes with the last of the tensors.
        """
        if self._stored is not None and self.source is not None and self.source.among_workers:
            return self._stored.plain()
        elsewhere = None if self.source is None else self.source.state(self.spec.name)
        if elsewhere is not None:
            return elsewhere
        if self._stored is not None:
            return self._stored.open()
        return self.without_expired(join_snapshots(self.slot(slot) for slot in range(SLOTS)))

    def set_extra_state(self, state: Any) -> None:
        """Hold these rows, and no others, in this process; in a job only where they are, if a checkpoint has them."""
        stored = StoredRows.from_plain(state)
        self.forget()
        if stored is not None and self.source is not None:
            check_columns(self.spec, {key: (each.torch_dtype, each.shape) for key, each in stored.columns.items()})
            self._stored = stored
            return
        parts = SlotParts(state if stored is None else stored.open())
        for slot in range(SLOTS):
            self.store.install(slot, parts.of(slot))

    def columns(self) -> list[str]:
        """See :class:`pliant.transfer.table_module.TableModule`."""
        return list(columns_of(self.spec))

    def row_digests(self) -> list[bytes]:
        """See :class:`pliant.transfer.table_module.TableModule`."""
        elsewhere = None if self.source is None else self.source.row_digests(self.spec.name)
        if elsewhere is not None:
            return elsewhere
        return [self.digest(self.slot(slot)) for slot in range(SLOTS)]

    def digest(self, value: dict[str, torch.Tensor]) -> bytes:
        """Of the rows in a slot's snapshot."""
        live = self.without_expired(value)
        return digest_rows(live["ids"].numpy(), live["rows"].numpy())

    def without_expired(self, value: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What of a snapshot is there still for the update that comes next."""
        return without_expired(self.spec, value, step=self.step if self.source is None else self.source.step)

    def slot(self, slot: int) -> Snapshot:
        """What this process holds of a slot: a copy, or a view of what is stored.

        Raises:
            CheckpointError: what is stored cannot be read.
        """
        if self._stored is None:
            return self.store.snapshot(slot)
        if self._parts is None:
            self._parts = SlotParts(self._stored.open())
        return self._parts.of(slot)

    def forget(self) -> None:
        """Hold nothing in this process."""
        self._stored = self._parts = None
        for slot in range(SLOTS):
            self.store.drop(slot)

    def _pull(self, ids: torch.Tensor) -> torch.Tensor:
        if self.source is not None:
            return self.source.pull(self.spec.name, ids)
        return self.store.pull(ids, step=self.step)


def tables_in(models: Iterable[nn.Module]) -> dict[str, Embedding]:
    """The tables that are in these modules, by name.

    Raises:
        ConfigError: two of them have one name.
    """
    found: dict[str, Embedding] = {}
    for model in models:
        for module in model.modules():
            if isinstance(module, Embedding) and found.setdefault(module.spec.name, module) is not module:
                raise ConfigError(
                    f"two tables are called {module.spec.name!r}: give each pliant.Embedding a name of its own"
                )
    return dict(sorted(found.items()))
