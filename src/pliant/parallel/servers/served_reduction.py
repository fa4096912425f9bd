"""A pass's reduction where servers add up: the workers still agree among themselves when it is complete.

As :class:`pliant.parallel.reduce.Reduction`, with the partial sums going to the servers and no results coming back. A
worker holds "the full gradient" when all slots' servers have said that it is complete.
"""

from __future__ import annotations

from typing import Any

from pliant.comm.base import Group
from pliant.comm.tree import maximal_subtrees
from pliant.parallel.partials import Partials
from pliant.parallel.pass_messages import Post, Pre
from pliant.parallel.reduce import Reduction
from pliant.parallel.servers import letters as le
from pliant.parallel.servers.client import ServersClient
from pliant.parallel.servers.client_work import PassWork
from pliant.parallel.servers.pieces import SlotRanges
from pliant.parallel.tables.row_sums import RowSums


class ServedReduction(Reduction):
    """The frames of one pass among the workers, and its sums on the way to the servers."""

    def __init__(  # noqa: PLR0913 - made in one place only
        self,
        group: Group,
        partials: Partials,
        *,
        client: ServersClient,
        ranges: SlotRanges,
        rows: RowSums,
        pre: Pre,
        **more: Any,
    ) -> None:
        super().__init__(group, partials, pre=pre, results=[], **more)
        self._client, self._rows = client, rows
        hail = le.Hail(
            version=0,
            generation=group.generation,
            pass_number=pre.pass_number,
            rank=group.rank,
            size=group.size,
            shards=partials.shards,
            layout=pre.layout,
            held=list(pre.held),
            scales=list(pre.scales),
            tables=list(rows.tables),
        )
        self._work = PassWork(
            hail=hail,
            nodes=maximal_subtrees(pre.held, partials.shards),
            partials=partials,
            ranges=ranges,
            on_complete=group.wake,
            ready=[False] * len(partials.layout.buckets),
        )

    def finish(self, post: Post) -> None:
        """See :class:`pliant.parallel.reduce.Reduction`."""
        self._work.rows = self._rows.nodes
        self._client.look()
        super().finish(post)

    def run(self) -> None:
        """See :class:`pliant.parallel.reduce.Reduction`."""
        self._client.begin_pass(self._work)
        try:
            super().run()
        finally:
            self._client.end_pass(self._work)

    def _post_parts(self, bucket: int) -> None:
        self._client.bucket_ready(self._work, bucket)

    def _fold_ready(self) -> None:
        """The servers do."""

    def _gradient_complete(self) -> bool:
        self._client.check()
        return not self._work.pending
