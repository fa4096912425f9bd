"""A worker's lookups: from ids to the unique rows to ask for, from rows to what the model gets, and gradients back.

All sums are made in one order, which is that of the ids in the batch: row after row, each from its first occurrence to
its last. So the bits depend neither on the number of threads nor on what else is looked up.

CPU only, float32: rows come from a socket. What follows may be moved to any device.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

from pliant.errors import UsageError

PoolMode = Literal["sum", "mean", "max"]
POOL_MODES: tuple[PoolMode, ...] = ("sum", "mean", "max")


class Lookup(NamedTuple):
    """Which rows are wanted, and where."""

    ids: torch.Tensor
    """(n,) int64: each id that occurs, once, rising."""
    inverse: torch.Tensor
    """(m,) int64: for each place in the batch, which of ``ids``."""
    order: torch.Tensor
    """(m,) int64: the places, by id, and for one id as they come."""
    starts: torch.Tensor
    """(n,) int64: where in ``order`` the places of each id begin."""
    shape: torch.Size
    """Of what was looked up."""


class Bags(NamedTuple):
    """How places are pooled: a bag is a run of them, and may be empty."""

    starts: torch.Tensor
    """(b,) int64: where each begins."""
    lengths: torch.Tensor
    """(b,) int64."""


def find_unique(ids: torch.Tensor) -> Lookup:
    """The rows that ids of any shape want.

    Raises:
        UsageError: They are no integers.
    """
    if ids.dtype.is_floating_point or ids.dtype.is_complex or ids.dtype == torch.bool:
        raise UsageError(f"ids to look up are {ids.dtype}; they must be integers. Convert them: ids.long()")
    flat = ids.detach().to("cpu", torch.int64).reshape(-1)
    values, order = torch.sort(flat, stable=True)
    first = torch.ones_like(values, dtype=torch.bool)
    torch.ne(values[1:], values[:-1], out=first[1:])
    starts = torch.nonzero(first)[:, 0]
    inverse = torch.empty_like(order)
    inverse.numpy()[order.numpy()] = first.numpy().cumsum() - 1
    return Lookup(values.index_select(0, starts), inverse, order, starts, ids.shape)


def find_bags(offsets: torch.Tensor, *, places: int) -> Bags:
    """Bags as ``torch.nn.EmbeddingBag`` has them: each ends where the next begins, the last one at the end.

    Args:
        offsets: (b,) integers: where each begins.
        places: how many ids there are.

    Raises:
        UsageError: Offsets do not begin with 0, fall, or point beyond the ids.
    """
    starts = offsets.detach().to("cpu", torch.int64)
    if starts.dim() != 1:
        raise UsageError(
            f"offsets have shape {list(starts.shape)}; they must have one dimension, an entry for each bag"
        )
    lengths = torch.diff(starts, append=torch.tensor([places]))
    if (not len(starts) and places) or (len(starts) and int(starts[0])) or bool((lengths < 0).any()):
        raise UsageError(
            f"offsets must begin with 0, not fall, and not go beyond the {places} ids; they are {starts[:8].tolist()}"
            f"{'...' if len(starts) > 8 else ''}. Entry i says where bag i begins"
        )
    return Bags(starts, lengths)


def gather(rows: torch.Tensor, lookup: Lookup) -> torch.Tensor:
    r"""Rows in the places where they are wanted: (\*shape, dim).

    Args:
        rows: (n, dim) float32, of ``lookup.ids``. Its gradient has for each row the sum over all its places.
        lookup: from :func:`find_unique`.
    """
    found: torch.Tensor = _Gather.apply(rows, lookup)  # type: ignore[no-untyped-call]
    return found.view(*lookup.shape, rows.shape[-1])


def pool(rows: torch.Tensor, lookup: Lookup, bags: Bags, *, mode: PoolMode) -> torch.Tensor:
    """One row for each bag: (b, dim). Empty bags give zeros, and of equal largest values the first gets the gradient.

    Args:
        rows: (n, dim) float32, of ``lookup.ids``. Its gradient has for each row the sum over all its places.
        lookup: of the ids in all bags.
        bags: from :func:`find_bags`.
        mode: what is made of the rows in a bag.
    """
    kind = _PoolMax if mode == "max" else _PoolSum
    found: torch.Tensor = kind.apply(rows, lookup, bags, mode)  # type: ignore[no-untyped-call]
    return found


def _summed(values: torch.Tensor, places: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
    """Sum runs of ``places``, which point into ``values``: each run from its beginning to its end."""
    if not len(places) or not len(starts):
        return values.new_zeros(len(starts), values.shape[-1])
    # This is what torch's own bags run on: each is added up in a register, in order, and no thread shares one.
    return functional.embedding_bag(places, values, starts, mode="sum")


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, lookup: Lookup) -> torch.Tensor:
        ctx.lookup = lookup
        return rows.index_select(0, lookup.inverse)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _summed(grad.contiguous(), ctx.lookup.order, ctx.lookup.starts), None


class _PoolSum(torch.autograd.Function):
    """Sum and mean."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, lookup: Lookup, bags: Bags, mode: PoolMode) -> torch.Tensor:
        ctx.lookup, ctx.bags = lookup, bags
        ctx.divisor = bags.lengths.clamp(min=1).to(rows.dtype)[:, None] if mode == "mean" else None
        found = _summed(rows, lookup.inverse, bags.starts)
        return found if ctx.divisor is None else found.div_(ctx.divisor)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        shares = grad.contiguous() if ctx.divisor is None else grad / ctx.divisor
        bag_of = torch.repeat_interleave(ctx.bags.lengths).index_select(0, ctx.lookup.order)
        return _summed(shares, bag_of, ctx.lookup.starts), None, None, None


class _PoolMax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, lookup: Lookup, bags: Bags, mode: PoolMode) -> torch.Tensor:
        filled = torch.nonzero(bags.lengths)[:, 0]
        found = rows.new_zeros(len(bags.lengths), rows.shape[-1])
        winners = torch.empty(0, rows.shape[-1], dtype=torch.int64)
        if len(filled):
            starts = bags.starts.index_select(0, filled)
            largest, _, _, winners = torch.embedding_bag(rows, lookup.inverse, starts, mode=2)
            found[filled] = largest
        ctx.filled, ctx.winners, ctx.rows = filled, winners, len(rows)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        total = np.zeros((ctx.rows, grad.shape[-1]), np.float32)
        columns = np.broadcast_to(np.arange(grad.shape[-1]), ctx.winners.shape)
        # Unbuffered: one after the other, bag by bag.
        np.add.at(total, (ctx.winners.numpy(), columns), grad.index_select(0, ctx.filled).numpy())
        return torch.from_numpy(total), None, None, None
