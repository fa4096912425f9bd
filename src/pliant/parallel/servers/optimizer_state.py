"""The state of an optimizer in pieces, and whole again.

One entry of a parameter's state is either one number for the parameter (``step``: a Python value or a 0-dim tensor) or
a tensor with one element for each of the parameter's (``exp_avg``); or a list or dict of such. A piece has its own copy
of the numbers, and its part of the tensors, in the order of the parameter's memory. Whether an optimizer keeps only
such state is tried out by :mod:`pliant.parallel.servers.elementwise`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from pliant.errors import StateError
from pliant.parallel.layout import Layout
from pliant.parallel.servers.pieces import Piece, SlotRanges

PieceStates = dict[int, dict[str, Any]]
"""By the index of the parameter in the layout, the optimizer's state of its piece in one slot."""

Bounds = Sequence[tuple[int, int]]
"""Of the pieces of a parameter: start and stop in elements, in order."""

_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device)


def scatter(optimizer: torch.optim.Optimizer, *, slot: int, layout: Layout, ranges: SlotRanges) -> PieceStates:
    """The state of the pieces in one slot, copied from the ordinary state of an optimizer over whole parameters.

    Parameters that the optimizer has no state of, or does not know, are left out.

    Raises:
        StateError: A state is neither one number nor one for each element; names the parameter and the shape.
    """
    found: PieceStates = {}
    for piece in ranges.pieces[slot]:
        param = layout.params[piece.param]
        if param in optimizer.state:
            where = f"the state of parameter {layout.names[piece.param]}"
            found[piece.param] = cut(optimizer.state[param], piece.start, piece.stop, param=param, where=where)
    return found


def gather(
    optimizer: torch.optim.Optimizer, *, states: Mapping[int, PieceStates], layout: Layout, ranges: SlotRanges
) -> dict[int, dict[str, Any]]:
    """What ``optimizer.state_dict()["state"]`` would be had the optimizer done on whole parameters what servers did.

    Parameters that servers do not hold (frozen ones, and those without elements) have the optimizer's own state.

    Args:
        optimizer: Over the whole parameters; not changed.
        states: For each slot that has pieces of its parameters, the states of these pieces. They are not changed, and
            the result shares no memory with them.
        layout: Of the parameters.
        ranges: Of the layout.

    Returns:
        By the parameter's number in the optimizer: whole tensors in the parameter's own strides, on the host.

    Raises:
        StateError: A slot is missing, or pieces of one parameter do not fit each other.
    """
    indices = {id(param): index for index, param in enumerate(layout.params) if ranges.params[index]}
    numbers = {param: number for number, param in reversed(list(enumerate(_members(optimizer))))}
    found: dict[int, dict[str, Any]] = {}
    for param, number in sorted(numbers.items(), key=lambda item: item[1]):
        if id(param) in indices:
            index = indices[id(param)]
            where = f"the state of parameter {layout.names[index]}"
            state = _gathered(states, index=index, pieces=ranges.params[index], param=param, where=where)
        else:
            state = copied(optimizer.state[param]) if param in optimizer.state else None
        if state is not None:
            found[number] = state
    return found


def cut(value: Any, start: int, stop: int, *, param: torch.Tensor, where: str) -> Any:
    """A copy of what belongs to elements ``start`` to ``stop`` of ``param`` in its state ``value``.

    Raises:
        StateError: A tensor is neither 0-dim nor of the parameter's shape, or something is no plain value.
    """
    if isinstance(value, torch.Tensor):
        if value.dim() == 0:
            return value.detach().clone()
        if value.shape == param.shape:
            return in_memory_order(value.detach(), param)[start:stop].clone()
        raise StateError(
            f"{where} is a tensor of shape {tuple(value.shape)}, the parameter has {tuple(param.shape)}: "
            "neither one number nor one for each element, so it cannot be cut"
        )
    if isinstance(value, dict):
        return {key: cut(item, start, stop, param=param, where=f"{where}, {key!r},") for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(cut(item, start, stop, param=param, where=where) for item in value)
    _check_plain(value, where)
    return value


def join(parts: Sequence[Any], bounds: Bounds, *, param: torch.Tensor, where: str) -> Any:
    """The state of ``param`` from that of its pieces: the reverse of :func:`cut`. Shares no memory with them.

    Raises:
        StateError: The pieces do not fit each other, or are not what :func:`cut` gives.
    """
    first = parts[0]
    if any(type(part) is not type(first) for part in parts):
        raise StateError(f"{where} differs in kind between slots: {sorted({type(part).__name__ for part in parts})}")
    if isinstance(first, torch.Tensor) and first.dim() > 0:
        return _joined(parts, bounds, param, where)
    if isinstance(first, dict):
        if any(part.keys() != first.keys() for part in parts):
            raise StateError(f"{where} has other entries in one slot than in another: they are at different updates")
        return {
            key: join([part[key] for part in parts], bounds, param=param, where=f"{where}, {key!r},") for key in first
        }
    if type(first) in (list, tuple):
        if any(len(part) != len(first) for part in parts):
            raise StateError(f"{where} has lengths {sorted({len(part) for part in parts})} in its slots")
        return type(first)(join(items, bounds, param=param, where=where) for items in zip(*parts, strict=True))
    if not isinstance(first, torch.Tensor):
        _check_plain(first, where)
    if differing := [part for part in parts if not same_bits(part, first)]:
        raise StateError(f"{where} is {first} in one slot and {differing[0]} in another: they are at different updates")
    return first.detach().clone() if isinstance(first, torch.Tensor) else first


def in_memory_order(tensor: torch.Tensor, param: torch.Tensor) -> torch.Tensor:
    """The elements of a tensor of ``param``'s shape as the layout has those of ``param``: 1-d, in memory order.

    A view where the strides agree, else a copy. A parameter with gaps in memory lies contiguous.
    """
    if not torch.ops.aten.is_non_overlapping_and_dense(param):
        return tensor.reshape(-1)
    if tensor.stride() != param.stride():
        tensor = torch.empty_like(param, dtype=tensor.dtype, device=tensor.device).copy_(tensor)
    return tensor.as_strided((tensor.numel(),), (1,))


def same_bits(left: Any, right: Any) -> bool:
    """True if two entries of a state are the same, NaNs and the signs of zeros included. Not for containers."""
    if isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor):
        if left.dtype != right.dtype or left.shape != right.shape:
            return False
        return torch.equal(_raw(left), _raw(right))
    if type(left) is not type(right):
        return False
    return bool(left == right) or (isinstance(left, float) and math.isnan(left) and math.isnan(right))


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """All tensors in an entry of a state."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from tensors_in(item)


def copied(value: Any) -> Any:
    """An entry of a state with containers and tensors of its own."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(copied(item) for item in value)
    return value


def _raw(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def _gathered(
    states: Mapping[int, PieceStates], *, index: int, pieces: Sequence[Piece], param: torch.Tensor, where: str
) -> Any:
    """The state of one parameter, None if it has none."""
    if missing := sorted({piece.slot for piece in pieces} - set(states)):
        raise StateError(f"{where} lies in slots {missing} too, which were not given")
    parts = [states[piece.slot].get(index) for piece in pieces]
    if all(part is None for part in parts):
        return None
    return join(parts, [(piece.start, piece.stop) for piece in pieces], param=param, where=where)


def _joined(parts: Sequence[torch.Tensor], bounds: Bounds, param: torch.Tensor, where: str) -> torch.Tensor:
    dtype = parts[0].dtype
    for part, (start, stop) in zip(parts, bounds, strict=True):
        if part.shape != (stop - start,) or part.dtype != dtype:
            raise StateError(
                f"{where} is a tensor of {part.dtype} and shape {tuple(part.shape)} for a slice of {stop - start} "
                f"elements, of {dtype} in another slot: neither one number nor one for each element"
            )
    if torch.ops.aten.is_non_overlapping_and_dense(param):
        whole = torch.empty_like(param, dtype=dtype, device="cpu", requires_grad=False)
    else:
        whole = torch.empty(param.shape, dtype=dtype)
    flat = in_memory_order(whole, whole)
    for part, (start, stop) in zip(parts, bounds, strict=True):
        flat[start:stop] = part.detach()
    return whole


def _check_plain(value: Any, where: str) -> None:
    if not isinstance(value, _PLAIN):
        raise StateError(
            f"{where} is a {type(value).__qualname__}; only numbers, text and tensors can be cut and moved"
        )


def _members(optimizer: torch.optim.Optimizer) -> Iterator[torch.Tensor]:
    for group in optimizer.param_groups:
        yield from group["params"]
