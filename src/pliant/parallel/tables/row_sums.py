"""One worker's row gradients of a pass, added up within the shards' tree; the dense ones are in ``partials.py``."""

from __future__ import annotations

from collections.abc import Mapping

from pliant.comm.tree import Node, sibling_merge
from pliant.parallel.tables.embedding import Embedding
from pliant.parallel.tables.merge import RowGrads, merge_rows

ByTable = dict[str, RowGrads]


class RowSums:
    """Partial sums of the tables' rows."""

    def __init__(self, tables: Mapping[str, Embedding], shards: int) -> None:
        self.tables = tables
        self.nodes: dict[Node, ByTable] = {}
        self._shards = shards
        for table in tables.values():
            table.in_job = True

    def begin(self, pass_number: int) -> None:
        """A new pass: forget everything."""
        self.nodes = {}
        for table in self.tables.values():
            table.step = pass_number + 1
            table.take_gradients()

    def restart(self) -> None:
        """Forget all shards of the pass."""
        self.nodes = {}

    def take(self, shard: int) -> None:
        """After the backward of a shard: take its gradients, and merge upwards."""
        if not self.tables:
            return
        node: Node = (shard, shard + 1)
        self.nodes[node] = {name: table.take_gradients() for name, table in self.tables.items()}
        while (other := sibling_merge(self.nodes, node, self._shards)) is not None:
            left, right = sorted((node, other))
            first, second = self.nodes.pop(left), self.nodes.pop(right)
            node = (left[0], right[1])
            self.nodes[node] = {name: merge_rows(first[name], second[name]) for name in self.tables}
