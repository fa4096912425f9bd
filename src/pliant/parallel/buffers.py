"""Buffers (BatchNorm statistics and the like): every shard starts from the step's common values, and the changes
are combined over the shards.

Floating-point buffers take the weighted mean of the shards' changes, added up in the same tree as the gradients;
integer and boolean ones (``num_batches_tracked``) the maximum. A buffer that no shard has changed is left alone, bit
for bit.

A change is seen by the tensor's being another object, by its version counter, or by its values: torch's batch norm
writes the running statistics without counting a version. Buffers above ``COMPARE_NUMEL`` elements (caches, tables)
are not compared.

This is BatchNorm per shard ("ghost batch norm", Hoffer et al. 2017): the running variance does not
include the variance between shards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from pliant.comm.tree import Node, maximal_subtrees, split

COMPARE_NUMEL = 1 << 20
_WHOLE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Integers of each size in bytes, to compare floating-point numbers bit for bit."""


class BufferTracker:
    """The buffers of the tracked models, through one pass."""

    def __init__(self, models: Mapping[str, nn.Module]) -> None:
        self._places = [
            (f"{label}.{path}.{name}" if path else f"{label}.{name}", module, name)
            for label, model in models.items()
            for path, module in model.named_modules()
            for name in module._buffers
        ]
        self._start: list[torch.Tensor | None] = [None] * len(self._places)
        self._seen: list[tuple[torch.Tensor | None, int]] = [(None, -1)] * len(self._places)
        self.changes: dict[int, dict[int, torch.Tensor]] = {}
        """shard -> buffer index -> weighted change (floating) or new value (others), on the host."""

    @property
    def names(self) -> list[str]:
        """Dotted names, in the order of the indices used here."""
        return [name for name, _, _ in self._places]

    def begin(self) -> None:
        """Remember the current values as the pass's start. Copies only what changed since the last time."""
        self.changes = {}
        for index in range(len(self._places)):
            if self._differs(index):
                current = self._current(index)
                self._start[index] = None if current is None else current.detach().clone()
                self._note(index)

    def take(self, shard: int, scale: float) -> None:
        """After a shard: keep its changes, weighted by ``scale``, and go back to the start's values."""
        changed: dict[int, torch.Tensor] = {}
        dirty = self._dirty()
        for index in dirty:
            current, start = self._current(index), self._start[index]
            if current is None or start is None or current.shape != start.shape:
                continue  # came or went or changed its shape: not state that can be combined
            if start.dtype.is_floating_point or start.dtype.is_complex:
                delta = torch.where(current == start, torch.zeros_like(start), current.detach() - start)
                changed[index] = (delta * scale).cpu()
            else:
                changed[index] = current.detach().cpu().clone()
        for index in dirty:  # only now: two of them may be the same tensor
            self._restore(index)
        self.changes[shard] = changed

    def rewind(self) -> None:
        """Back to the start's values, forgetting what a shard did."""
        for index in self._dirty():
            self._restore(index)

    def changed(self) -> list[int]:
        """Indices of the buffers that any shard here has changed."""
        return sorted({index for changed in self.changes.values() for index in changed})

    def partial(self, index: int, shards: int) -> dict[Node, torch.Tensor]:
        """This worker's partial sums (or maxima) of one buffer over the maximal subtrees of its shards."""
        return {node: self._fold(index, node) for node in maximal_subtrees(list(self.changes), shards)}

    def specs(self, indices: Sequence[int]) -> list[tuple[torch.dtype, torch.Size]]:
        """Dtype and shape of each of ``indices``."""
        found = []
        for index in indices:
            start = self._start[index]
            if start is None:
                raise AssertionError(f"buffer {self._places[index][0]} has no value at the start of the step")
            found.append((start.dtype, start.shape))
        return found

    def apply(self, index: int, total: torch.Tensor, factor: float) -> None:
        """Commit one buffer: ``total`` is the root of the tree, ``factor`` one over the sum of the weights."""
        start = self._start[index]
        current = self._current(index)
        if start is None or current is None:
            return
        with torch.no_grad():
            if start.dtype.is_floating_point or start.dtype.is_complex:
                current.copy_(start + (total * factor).to(start.device))
            else:
                current.copy_(total)

    def _fold(self, index: int, node: Node) -> torch.Tensor:
        if node[1] - node[0] == 1:
            found = self.changes[node[0]].get(index)
            if found is not None:
                return found
            start = self._start[index]
            if start is None:
                raise AssertionError(f"buffer {self._places[index][0]} has no value at the start of the step")
            return neutral(start.cpu())
        left, right = split(node)
        return combine(self._fold(index, left), self._fold(index, right))

    def _current(self, index: int) -> torch.Tensor | None:
        _, module, name = self._places[index]
        current: torch.Tensor | None = module._buffers.get(name)
        return current

    def _note(self, index: int) -> None:
        current = self._current(index)
        self._seen[index] = (current, -1 if current is None else current._version)

    def _dirty(self) -> list[int]:
        return [index for index in range(len(self._places)) if self._differs(index)]

    def _differs(self, index: int) -> bool:
        current, start = self._current(index), self._start[index]
        tensor, version = self._seen[index]
        if current is not tensor or (current is not None and current._version != version):
            return True
        if current is None or start is None or current.numel() > COMPARE_NUMEL:
            return False
        return not same_bits(current, start)

    def _restore(self, index: int) -> None:
        _, module, name = self._places[index]
        original, start = self._seen[index][0], self._start[index]
        if original is None or start is None:
            module._buffers[name] = None
        else:
            with torch.no_grad():
                original.copy_(start)
            module._buffers[name] = original
        self._note(index)


def same_bits(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Equal bit for bit: unlike ``torch.equal``, a NaN equals itself, and the two zeros differ."""
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    if left.is_complex():
        left, right = torch.view_as_real(left), torch.view_as_real(right)
    if left.is_floating_point():
        whole = _WHOLE[left.dtype.itemsize]
        left, right = left.detach().contiguous().view(whole), right.detach().contiguous().view(whole)
    return torch.equal(left, right)


def neutral(start: torch.Tensor) -> torch.Tensor:
    """What a shard that left the buffer alone contributes: no change, or the old value."""
    if start.dtype.is_floating_point or start.dtype.is_complex:
        return torch.zeros_like(start)
    return start


def combine(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Sum of changes for floating-point buffers, maximum for the others."""
    if left.dtype.is_floating_point or left.dtype.is_complex:
        return left + right
    return torch.maximum(left, right)
