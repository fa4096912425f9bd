"""The same bits for an input, whatever batch it falls into.

Kernels choose their algorithm by the shape: a matrix product of 3 rows may add in another order than one of 8. At one
shape, the rows of MLPs, LayerNorm, convolutions and attention within a row come out the same at any position and beside
any neighbours. So every batch is padded to one number of rows, the *tile*. (A model that mixes rows, such as BatchNorm
in training mode, cannot be exact.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from pliant.serving.replica.model import Model


class Tiled(Model):
    """Another model, whose ``predict`` always sees ``rows`` rows."""

    def __init__(self, inner: Model, rows: int) -> None:
        self._inner, self._rows = inner, rows
        self.repeatable = inner.repeatable

    def predict(self, batch: Any) -> Any:
        """Pad, compute, cut.

        Args:
            batch: a tensor or a dict of them, of at most the tile's rows.
        """
        if isinstance(batch, Mapping):
            rows = next(iter(batch.values())).shape[0]
            padded: Any = {name: padded_to(tensor, self._rows) for name, tensor in batch.items()}
        else:
            rows, padded = batch.shape[0], padded_to(batch, self._rows)
        return _cut(self._inner.predict(padded), rows, self._rows)


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
