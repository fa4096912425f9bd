"""A server's part in the tables' rows of a pass: added up in the shards' tree, slot by slot, and kept until applied."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pliant.comm.tree import Node, fold
from pliant.parallel.partials import scaled
from pliant.parallel.servers import letters as le
from pliant.parallel.servers.frames import Frame, FrameReader
from pliant.parallel.servers.gather import Gather
from pliant.parallel.servers.row_frames import by_slot, joined, read_rows, row_frames
from pliant.parallel.tables.merge import RowGrads, merge_rows
from pliant.parallel.tables.row_store import RowStore
from pliant.parallel.tables.update import update_rows


class RowPasses:
    """Row gradients of the slots that one server holds.

    A mean is kept until the next one takes its place, also when it has been applied here: a copy may have to be told of
    it once more.

    Attributes:
        stores: by table; the rows themselves.
    """

    def __init__(self, stores: Mapping[str, RowStore]) -> None:
        self.stores = dict(sorted(stores.items()))
        self._parts: dict[tuple[str, int], dict[Node, RowGrads]] = {}
        self._means: dict[tuple[str, int], RowGrads] = {}

    def begin(self) -> None:
        """Another pass, or the same with other workers."""
        self._parts = {}

    def add(self, letter: le.RowPart, frames: Sequence[memoryview], *, nodes: Sequence[Node], slots: set[int]) -> None:
        """Partial sums of a worker; only ``slots`` are of interest."""
        reader, dim = FrameReader(frames), self.stores[letter.table].spec.dim
        for node in nodes:
            for slot, rows in by_slot(read_rows(reader, dim), slots).items():
                self._parts.setdefault((letter.table, slot), {})[node] = rows

    def fold(self, table: str, slot: int, gather: Gather) -> bool:
        """Add up what is here of a slot, if it is all."""
        parts = self._parts.get((table, slot), {})
        if not gather.covers(parts):
            return False
        total = fold(parts, gather.shards, merge_rows)
        self._means[table, slot] = RowGrads(total.ids, scaled(total.grads, gather.factor, total.grads.clone()))
        del self._parts[table, slot]
        return True

    def mean_frames(self, table: str, slots: Iterable[int]) -> list[Frame]:
        """For the copies."""
        return [frame for slot in slots for frame in row_frames(self._mean(table, slot))]

    def take_mean(self, table: str, slot: int, reader: FrameReader) -> None:
        """From the primary."""
        rows = read_rows(reader, self.stores[table].spec.dim)
        self._means[table, slot] = RowGrads(rows.ids.clone(), rows.grads.clone())

    def read_push(self, reader: FrameReader, slots: Sequence[int]) -> dict[int, dict[str, RowGrads]]:
        """From a worker: by slot and table."""
        found: dict[int, dict[str, RowGrads]] = {slot: {} for slot in slots}
        for name, store in self.stores.items():
            for slot, rows in by_slot(read_rows(reader, store.spec.dim), slots).items():
                found[slot][name] = rows
        return found

    def read_pushed(self, reader: FrameReader) -> dict[str, RowGrads]:
        """From the primary: a push's rows of one slot, by table."""
        found = {}
        for name, store in self.stores.items():
            rows = read_rows(reader, store.spec.dim)
            found[name] = RowGrads(rows.ids.clone(), rows.grads.clone())
        return found

    def set_means(self, slot: int, rows: Mapping[str, RowGrads]) -> None:
        """What ``apply`` applies to this slot, by table."""
        for name, each in rows.items():
            self._means[name, slot] = each

    def apply(self, slots: Sequence[int], *, step: int) -> None:
        """Update the rows. Raises MemoryLimitError: no room; of this table nothing was changed."""
        for name, store in self.stores.items():
            rows = joined((self._mean(name, slot) for slot in slots), store.spec.dim)
            update_rows(store, rows, step=step)

    @contextmanager
    def unlimited(self) -> Iterator[None]:
        """What others have decided is done here, whatever it takes: see ``Updates.follow``."""
        for store in self.stores.values():
            store.limited = False
        try:
            yield
        finally:
            for store in self.stores.values():
                store.limited = True

    def snapshot(self, slot: int) -> dict[str, object]:
        """All of a slot, what is to be applied included; plain."""
        return {
            name: {"rows": store.snapshot(slot), "mean": list(self._mean(name, slot))}
            for name, store in self.stores.items()
        }

    def install(self, slot: int, value: Mapping[str, Mapping[str, Any]]) -> None:
        """The reverse of ``snapshot``. Raises ProtocolError, LookupError: it is none."""
        for name, store in self.stores.items():
            store.install(slot, {key: tensor.clone() for key, tensor in value[name]["rows"].items()})
            if "mean" in value[name]:  # a worker's has none, and may come when sums have been added up here
                ids, grads = value[name]["mean"]
                self._means[name, slot] = RowGrads(ids.clone(), grads.clone())

    def forget(self, slot: int) -> None:
        """This server holds the slot no longer."""
        for name, store in self.stores.items():
            store.drop(slot)
            self._means.pop((name, slot), None)
            self._parts.pop((name, slot), None)

    def _mean(self, table: str, slot: int) -> RowGrads:
        return self._means.get((table, slot)) or joined((), self.stores[table].spec.dim)
