"""One worker's gradients of a pass, added up within the tree while its shards are computed.

Theory of operation. After each shard but the last, the gradients that autograd left in ``param.grad`` are taken as
they are (no copy) as the leaf of that shard, and merged with siblings as far up as this worker's own shards allow: a
binary counter, so at most log2(shards per worker) lists of gradients are open. With peers, the *last* shard streams:
as each parameter's gradient becomes final, its whole chain of merges is done and the sums are written to flat
buckets, so that buckets leave while backward is still at work. The flat partial sums then stay untouched until the
pass is committed: they are what survives when a peer dies.

A parameter without a gradient counts as zeros. Whether zeros are added or skipped can change nothing but the sign of
a zero, and the final scaling adds +0.0, which removes that difference (see ``scaled``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch

from pliant.comm.tree import Node, maximal_subtrees, sibling_merge
from pliant.errors import UsageError
from pliant.parallel.layout import Layout

Gradients = list[torch.Tensor | None]
"""One entry per parameter of the layout."""


def scaled(source: torch.Tensor, factor: float, out: torch.Tensor) -> torch.Tensor:
    """``out = +0.0 + factor * source``: the mean from the sum, with every zero positive. Elementwise."""
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
        """Take ``param.grad`` of all parameters as the gradients of ``shard``, and merge upwards."""
        leaf: Gradients = [self._take(index) for index in range(len(self.layout.params))]
        node: Node = (shard, shard + 1)
        if self.flats:  # after a crash: what is kept is flat already
            self._flatten_into(node, leaf)
            self._merge_flats(node)
            return
        self.lists[node] = leaf
        while (other := sibling_merge(self.lists, node, self.shards)) is not None:
            merged = _merge_lists(self.lists.pop(other), self.lists.pop(node))
            node = (min(other[0], node[0]), max(other[1], node[1]))
            self.lists[node] = merged

    def discard_leaf(self) -> None:
        """Forget ``param.grad`` of all parameters (a rehearsal)."""
        for param in self.layout.params:
            param.grad = None

    def flatten(self) -> None:
        """Write all lists to flat buckets (without streaming)."""
        for node in list(self.lists):
            self._flatten_into(node, self.lists.pop(node))

    def streamer(self, shard: int, held: set[int], on_bucket: Callable[[int], None]) -> Streamer:
        """Make the last shard of the pass stream its gradients; ``held`` are all shards of this worker."""
        return Streamer(self, shard, held, on_bucket)

    def root(self) -> Gradients | list[torch.Tensor]:
        """On one worker with all shards: the sums over everything, as a list or as flat buckets."""
        node: Node = (0, self.shards)
        return self.lists[node] if node in self.lists else self.flats[node]

    def new_flats(self) -> list[torch.Tensor]:
        """Flat buckets, from the spares if there are any."""
        return self._spare.pop() if self._spare else self.layout.new_flats()

    def _take(self, index: int) -> torch.Tensor | None:
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


def _merge_lists(left: Gradients, right: Gradients) -> Gradients:
    both = [index for index, (a, b) in enumerate(zip(left, right, strict=True)) if a is not None and b is not None]
    if len(both) == len(left):
        torch._foreach_add_(cast(list[torch.Tensor], left), cast(list[torch.Tensor], right))
        return left
    if both:
        torch._foreach_add_(
            [cast(torch.Tensor, left[index]) for index in both], [cast(torch.Tensor, right[index]) for index in both]
        )
    return [a if a is not None else b for a, b in zip(left, right, strict=True)]


class Streamer:
    """Writes the worker's final partial sums to flat buckets, parameter by parameter, during the last backward.

    ``ready(index)`` is called from the gradient hook; ``finish()`` after backward, for parameters that got none.
    """

    def __init__(self, partials: Partials, shard: int, held: set[int], on_bucket: Callable[[int], None]) -> None:
        self._partials = partials
        layout = partials.layout
        self._chain: list[Gradients] = []
        node: Node = (shard, shard + 1)
        lists = dict(partials.lists)
        while (other := sibling_merge(lists, node, partials.shards)) is not None:
            self._chain.append(lists.pop(other))
            node = (min(other[0], node[0]), max(other[1], node[1]))
        self._rest = lists
        final = maximal_subtrees(held, partials.shards)
        if sorted([node, *lists]) != final:
            raise AssertionError(f"partial sums {sorted([node, *lists])} do not make up {final}")
        partials.flats = {each: partials.new_flats() for each in final}
        partials.lists = {}
        self._top = partials.flats[node]
        self._done = [False] * len(layout.params)
        self._left = [len(spec.params) for spec in layout.buckets]
        self._on_bucket = on_bucket

    def ready(self, index: int) -> None:
        """Parameter ``index`` has its gradient of the last shard."""
        layout = self._partials.layout
        if self._done[index]:
            raise UsageError(
                f"parameter {layout.names[index]} received its gradient in two parts within one backward "
                "(reentrant checkpointing does that). Pass use_reentrant=False to torch.utils.checkpoint."
            )
        self._done[index] = True
        grad = self._partials._take(index)
        for other in self._chain:
            grad = _sum(other[index], grad)
            other[index] = None
        write(layout.view(self._top, index), grad)
        for node, gradients in self._rest.items():
            write(layout.view(self._partials.flats[node], index), gradients[index])
            gradients[index] = None
        bucket = layout.slots[index].bucket
        self._left[bucket] -= 1
        if not self._left[bucket]:
            self._on_bucket(bucket)

    def finish(self) -> None:
        """Complete the parameters that took no part in the last shard."""
        for index, done in enumerate(self._done):
            if not done:
                self.ready(index)


def _sum(kept: torch.Tensor | None, grad: torch.Tensor | None) -> torch.Tensor | None:
    if kept is None or grad is None:
        return grad if kept is None else kept
    return kept.add_(grad)
