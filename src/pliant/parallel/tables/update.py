"""One update of a table's rows, wherever they are."""

from __future__ import annotations

from pliant.parallel.tables.merge import RowGrads
from pliant.parallel.tables.row_store import RowStore

SWEEP_EVERY = 256
"""Updates between two sweeps: what has expired is as good as gone before, only its memory is not."""


def update_rows(store: RowStore, mean: RowGrads, *, step: int) -> None:
    """Apply mean gradients. As :meth:`RowStore.push`, after which expired rows are swept out now and then."""
    store.push(mean.ids, mean.grads, step=step)
    if store.spec.expire_after_steps is not None and step % SWEEP_EVERY == 0:
        store.sweep(step + 1)
