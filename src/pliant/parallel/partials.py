"""One worker's gradients of a pass, added up within the tree while its shards are computed.

Theory of operation. Gradients are taken out of ``param.grad`` as backward finishes them (no copy) and merged with those
of sibling shards as far up the tree as this worker's own shards allow: a binary counter, so at most log2(shards per
worker) lists of gradients are open. With peers, the *last* shard streams: its sums are written to flat buckets, which
leave while backward is still at work. The flat partial sums then stay untouched until the pass is committed: they are
what survives when a peer dies.

A parameter without a gradient counts as zeros. Whether zeros are added or skipped can change nothing but the sign of
a zero, and the final scaling adds +0.0, which removes that difference (see ``scaled``).
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from pliant.comm.tree import Node, maximal_subtrees, sibling_merge
from pliant.errors import UsageError
from pliant.parallel.layout import Layout

Gradients = list[torch.Tensor | None]
"""One entry per parameter of the layout."""


def scaled(source: torch.Tensor, factor: float, out: torch.Tensor) -> torch.Tensor:
    """``out = +0.0 + factor * source``: the mean from the sum, with every zero positive. Elementwise."""
    if source.dtype in (torch.bfloat16, torch.float16):
        # add's alpha is rounded to the dtype on a CPU (1/3 is 0.2 % off then) and not on a GPU; mul's factor never is.
        return torch.mul(source, factor, out=out).add_(0.0)
    return torch.add(torch.zeros((), dtype=source.dtype, device=source.device), source, alpha=factor, out=out)


class Partials:
    """Partial sums of one pass on one worker."""

    def __init__(self, layout: Layout, shards: int) -> None:
        self.layout = layout
        self.shards = shards
        self.lists: dict[Node, Gradients] = {}
        self.flats: dict[Node, list[torch.Tensor]] = {}
        self.present = [False] * len(layout.params)
        self._spare: list[list[torch.Tensor]] = []

    @property
    def nodes(self) -> list[Node]:
        """The nodes held, in order."""
        return sorted([*self.lists, *self.flats])

    @property
    def held(self) -> list[int]:
        """The shards held, in order."""
        return [shard for node in self.nodes for shard in range(*node)]

    def reset(self) -> None:
        """Forget everything; the memory of the flat buckets is kept for the next pass."""
        self._spare.extend(self.flats.values())
        self.flats = {}
        self.lists = {}
        self.present = [False] * len(self.layout.params)

    def give(self, flats: list[torch.Tensor]) -> None:
        """Add flat buckets to the spares."""
        self._spare.append(flats)

    def release(self) -> None:
        """Give spare flat buckets back to the allocator."""
        self._spare = []

    def take_leaf(self, shard: int) -> None:
        """After backward: take ``param.grad`` of all parameters as the gradients of ``shard``, and merge upwards."""
        if not self.flats:
            ListCollector(self, shard).finish()
            return
        node: Node = (shard, shard + 1)  # after a crash: what is kept is flat already
        self._flatten_into(node, [self.take(index) for index in range(len(self.layout.params))])
        self._merge_flats(node)

    def flatten(self) -> None:
        """Write all lists to flat buckets (without streaming)."""
        for node in list(self.lists):
            self._flatten_into(node, self.lists.pop(node))

    def new_flats(self) -> list[torch.Tensor]:
        """Flat buckets, from the spares if there are any."""
        return self._spare.pop() if self._spare else self.layout.new_flats()

    def take(self, index: int) -> torch.Tensor | None:
        """Take ``param.grad`` of one parameter away from it."""
        param = self.layout.params[index]
        grad = param.grad
        if grad is None:
            return None
        if grad.is_sparse:
            raise UsageError(
                f"parameter {self.layout.names[index]} has a sparse gradient, which cannot be added in a fixed order. "
                "Create its torch.nn.Embedding with sparse=False."
            )
        param.grad = None
        self.present[index] = True
        return grad

    def _flatten_into(self, node: Node, gradients: Gradients) -> None:
        flats = self.new_flats()
        for index, grad in enumerate(gradients):
            write(self.layout.view(flats, index), grad)
        self.flats[node] = flats

    def _merge_flats(self, node: Node) -> None:
        while (other := sibling_merge(self.flats, node, self.shards)) is not None:
            kept, gone = self.flats.pop(other), self.flats.pop(node)
            torch._foreach_add_(kept, gone)
            self._spare.append(gone)
            node = (min(other[0], node[0]), max(other[1], node[1]))
            self.flats[node] = kept


def write(target: torch.Tensor, grad: torch.Tensor | None) -> None:
    """Copy a gradient to its place; zeros if there is none."""
    if grad is None:
        target.zero_()
    else:
        target.copy_(grad)


class Collector:
    """Takes one shard's gradients parameter by parameter, as backward finishes them, and merges them upwards at once.

    While a gradient is still in the cache its whole chain of merges is done, and its memory is free again.
    ``ready(index)`` is called from the gradient hook; ``finish()`` after backward, for parameters that got none.
    """

    def __init__(self, partials: Partials, shard: int) -> None:
        self._partials = partials
        self._done = [False] * len(partials.layout.params)
        self._chain: list[Gradients] = []
        self._rest = dict(partials.lists)
        node: Node = (shard, shard + 1)
        while (other := sibling_merge(self._rest, node, partials.shards)) is not None:
            self._chain.append(self._rest.pop(other))
            node = (min(other[0], node[0]), max(other[1], node[1]))
        self._node = node

    @property
    def merges(self) -> bool:
        """There is something to add to: without, gradients may as well be taken after backward."""
        return bool(self._chain)

    def ready(self, index: int) -> None:
        """Parameter ``index`` has its gradient of this shard."""
        if self._done[index]:
            raise UsageError(
                f"parameter {self._partials.layout.names[index]} received its gradient in two parts in one backward "
                "(reentrant checkpointing does that). Pass use_reentrant=False to torch.utils.checkpoint."
            )
        self._done[index] = True
        grad = self._partials.take(index)
        for other in self._chain:
            grad = _sum(other[index], grad)
            other[index] = None
        self.keep(index, grad)

    def finish(self) -> None:
        """Complete the parameters that took no part in this shard."""
        for index, done in enumerate(self._done):
            if not done:
                self.ready(index)

    def keep(self, index: int, total: torch.Tensor | None) -> None:
        """Put the sum where it belongs."""
        raise NotImplementedError


class ListCollector(Collector):
    """Keeps the sums as they are: for all shards but the last, and on one worker alone."""

    def __init__(self, partials: Partials, shard: int) -> None:
        super().__init__(partials, shard)
        self._merged: Gradients = [None] * len(partials.layout.params)

    def keep(self, index: int, total: torch.Tensor | None) -> None:
        """Into the list of the merged node."""
        self._merged[index] = total

    def finish(self) -> None:
        """The merged node takes the place of its parts."""
        super().finish()
        self._partials.lists = {**self._rest, self._node: self._merged}


class FlatCollector(Collector):
    """Writes this worker's final partial sums to flat buckets: for the last shard of a pass with peers."""

    def __init__(self, partials: Partials, shard: int, held: set[int], on_bucket: Callable[[int], None]) -> None:
        super().__init__(partials, shard)
        layout = partials.layout
        final = maximal_subtrees(held, partials.shards)
        if sorted([self._node, *self._rest]) != final:
            raise AssertionError(f"partial sums {sorted([self._node, *self._rest])} do not make up {final}")
        partials.flats = {each: partials.new_flats() for each in final}
        partials.lists = {}
        self._left = [len(spec.params) for spec in layout.buckets]
        self._on_bucket = on_bucket

    def keep(self, index: int, total: torch.Tensor | None) -> None:
        """Into the flat buckets; tells of each bucket that is complete."""
        partials = self._partials
        layout = partials.layout
        write(layout.view(partials.flats[self._node], index), total)
        for node, gradients in self._rest.items():
            write(layout.view(partials.flats[node], index), gradients[index])
            gradients[index] = None
        bucket = layout.slots[index].bucket
        self._left[bucket] -= 1
        if not self._left[bucket]:
            self._on_bucket(bucket)


def _sum(kept: torch.Tensor | None, grad: torch.Tensor | None) -> torch.Tensor | None:
    if kept is None or grad is None:
        return grad if kept is None else kept
    return kept.add_(grad)
