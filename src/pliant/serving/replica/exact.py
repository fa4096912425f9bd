"""The same bits for an input, whatever batch it falls into.

Kernels choose their algorithm by the shape: a matrix product of 3 rows may add in another order than one of 8. At one
shape, the rows of MLPs, LayerNorm, convolutions and attention within a row come out the same at any position and beside
any neighbours. So every batch is padded to one number of rows, the *tile*. (A model that mixes rows, such as BatchNorm
in training mode, cannot be exact.) Where other dimensions are padded, each of their buckets is such a shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pliant.serving.replica.model import Model
from pliant.wire.tensors import Signature


class Tiled(Model):
    """Another model, whose ``predict`` always sees ``rows`` rows."""

    def __init__(self, inner: Model, rows: int) -> None:
        self._inner, self._rows = inner, rows
        self.repeatable = inner.repeatable

    def predict(self, batch: Any, **sizes: torch.Tensor) -> Any:
        """Pad, compute, cut.

        Args:
            batch: a tensor or a dict of them, of at most the tile's rows.
            sizes: true sizes of the rows' dimensions, as the model asks for them.
        """
        sizes = {dim: padded_to(each, self._rows) for dim, each in sizes.items()}
        if isinstance(batch, Mapping):
            rows = next(iter(batch.values())).shape[0]
            padded: Any = {name: padded_to(tensor, self._rows) for name, tensor in batch.items()}
        else:
            rows, padded = batch.shape[0], padded_to(batch, self._rows)
        return _cut(self._inner.predict(padded, **sizes), rows, self._rows)

    def collate(self, requests: Sequence[Any]) -> Any:
        """The other model's."""
        return self._inner.collate(requests)

    def split(self, result: Any, requests: Sequence[Any]) -> Sequence[Any]:
        """The other model's."""
        return self._inner.split(result, requests)


def why_not_exact(signature: Signature) -> list[str]:
    """What of a model makes its batches' shape depend on what else is in them, tile or not; empty if nothing."""
    problems = []
    if signature.streams:
        problems.append("the model yields its answers, one request at a time: there is no batch for --exact")
    if signature.collates:
        problems.append("the model's own collate decides on the shape of a batch, which --exact would have to fix")
    for dim in sorted(dim for dim, buckets in signature.pads.items() if not buckets):
        problems.append(
            f"--exact needs sizes that {dim!r} is padded to, as in pad = {{{dim!r}: (32, 64, 128)}}: to the longest of "
            "the batch is another shape each time"
        )
    return problems


def padded_to(tensor: torch.Tensor, rows: int) -> torch.Tensor:
    """``tensor`` (n, ...) with copies of its first row behind it, (rows, ...): values that the model can bear."""
    missing = rows - tensor.shape[0]
    return torch.cat([tensor, tensor[:1].expand(missing, *tensor.shape[1:])]) if missing > 0 else tensor


def _cut(result: Any, rows: int, tile: int) -> Any:
    """Without the padding; what has other rows is left as it is, to be told as a mistake."""
    if isinstance(result, torch.Tensor):
        return result[:rows] if result.dim() and result.shape[0] == tile else result
    if isinstance(result, Mapping):
        return {name: _cut(each, rows, tile) for name, each in result.items()}
    if isinstance(result, (tuple, list)):
        return [_cut(each, rows, tile) for each in result]
    return result
