"""The same steps of one optimizer on small tensors, once whole and once as servers would do them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch

from pliant.errors import StateError
from pliant.parallel.servers.optimizer_copy import copy_optimizer, options_of, set_groups
from pliant.parallel.servers.optimizer_state import cut, join
from pliant.parallel.servers.pieces import UNIT

Outcome = tuple[torch.Tensor, Any]
"""A tensor after all steps, and its state; None if it has none."""

STEPS = 6
_MOVE_AFTER = 3
_SERVERS = 2
_SIZES = ((7, 23), (8, 13))
"""Of two tensors for each kind: no multiples of a vector register's size, as the sizes of tensors need not be."""
_LARGE = (2, 32_775)
_DIVIDED = 32_768
"""Elements from which on torch divides the work on one tensor among its threads."""
_CUTS = (1, 3, 4)
"""In units of pieces."""

Sort = Literal["usual", "gaps", "large"]
"""Of tensor: with gaps in memory; or so large that several threads share the work."""


class _Tensor(NamedTuple):
    """A small tensor in place of parameters of one group, dtype and number of dimensions."""

    group: int
    value: torch.Tensor
    sort: Sort
    state: Any
    bounds: list[tuple[int, int]]
    grads: list[torch.Tensor | None]
    """For each step."""


class Trial:
    """Small tensors in place of an optimizer's parameters, gradients for a few steps, and what comes of them."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer
        self._generator = torch.Generator().manual_seed(0)
        self._tensors: list[_Tensor] = []
        self._kind_of: dict[int, int] = {}
        """By the ``id`` of a parameter, the first tensor in its place."""
        divided = set()
        for group, param, alike in _kinds(optimizer):
            self._kind_of.update((id(each), len(self._tensors)) for each in alike)
            sort: Sort = "usual" if _dense(param) else "gaps"
            for number, sizes in enumerate(_SIZES):
                # Each lacks its gradient once: what a step does must not hang on which other tensors take part in it.
                self._tensors.append(self._tensor(group, param, sizes=sizes, sort=sort, lacking=2 * number + 1))
            if torch.get_num_threads() > 1 and param.dtype not in divided and max(map(_numel, alike)) >= _DIVIDED:
                divided.add(param.dtype)
                self._tensors.append(self._tensor(group, param, sizes=_LARGE, sort="large", lacking=STEPS))

    @property
    def sorts(self) -> list[Sort]:
        """Of which sort each tensor is."""
        return [each.sort for each in self._tensors]

    @property
    def empty(self) -> bool:
        """The optimizer has no parameter with elements that requires a gradient."""
        return not self._tensors

    def whole(self) -> list[Outcome]:
        """All steps on whole tensors, by one optimizer."""
        params = [torch.nn.Parameter(_laid_out(each)) for each in self._tensors]
        lists: list[list[torch.nn.Parameter]] = [[] for _ in self._optimizer.param_groups]
        for each, param in zip(self._tensors, params, strict=True):
            lists[each.group].append(param)
        stand_ins = {key: params[number] for key, number in self._kind_of.items()}
        optimizer = copy_optimizer(self._optimizer, lists, stand_ins=stand_ins)
        for each, param in zip(self._tensors, params, strict=True):
            if each.state is not None:
                optimizer.state[param] = copy.deepcopy(each.state)
        for step in range(STEPS):
            for each, param in zip(self._tensors, params, strict=True):
                grad = each.grads[step]
                param.grad = None if grad is None else grad.clone()
            optimizer.step()
        return [(param.detach(), optimizer.state.get(param)) for param in params]

    def sliced(self) -> list[Outcome]:
        """All steps on slices, by two optimizers that others take over from.

        Raises:
            StateError: The optimizer keeps state that cannot be cut, moved, or put together again.
        """
        pieces = {
            (number, at): [_piece(each.value, *bounds), _cut(each, bounds)]
            for number, each in enumerate(self._tensors)
            for at, bounds in enumerate(each.bounds)
        }
        for move, steps in enumerate((range(_MOVE_AFTER), range(_MOVE_AFTER, STEPS))):
            for server in range(_SERVERS):
                held = {place: piece for place, piece in pieces.items() if (place[1] + move) % _SERVERS == server}
                self._serve(held, steps)
        return [
            self._joined(each, [pieces[number, at] for at in range(len(each.bounds))])
            for number, each in enumerate(self._tensors)
        ]

    def _serve(self, held: dict[tuple[int, int], list[Any]], steps: range) -> None:
        """A new optimizer does some steps on some pieces, and leaves their values and state in ``held``."""
        lists: list[list[torch.nn.Parameter]] = [[] for _ in self._optimizer.param_groups]
        params = {place: torch.nn.Parameter(value) for place, (value, _) in held.items()}
        for (number, _), param in params.items():
            lists[self._tensors[number].group].append(param)
        optimizer = copy_optimizer(self._optimizer, lists)
        for place, (_, state) in held.items():
            if state is not None:
                optimizer.state[params[place]] = state
        for step in steps:
            for (number, at), param in params.items():
                each = self._tensors[number]
                grad = each.grads[step]
                param.grad = None if grad is None else _piece(grad, *each.bounds[at])
            set_groups(optimizer, copy.deepcopy(options_of(self._optimizer)), lists)
            optimizer.step()
        if set(optimizer.state) - set(params.values()):
            raise StateError("it keeps state that belongs to no parameter")
        for place, param in params.items():
            held[place][:] = param.detach(), optimizer.state.get(param)

    def _joined(self, each: _Tensor, pieces: list[list[Any]]) -> Outcome:
        value = join([value for value, _ in pieces], each.bounds, param=each.value, where="the parameter")
        states = [state for _, state in pieces]
        if all(state is None for state in states):
            return value, None
        return value, join(states, each.bounds, param=each.value, where="its state")

    def _tensor(self, group: int, param: torch.Tensor, *, sizes: tuple[int, int], sort: Sort, lacking: int) -> _Tensor:
        shape = _shape(sizes, param.dim())
        value = self._random(shape, param.dtype)
        unit = max(1, UNIT // param.dtype.itemsize)
        edges = [0, *(units * unit for units in _CUTS if units * unit < value.numel()), value.numel()]
        state = None
        if param in self._optimizer.state:
            state = _resized(self._optimizer.state[param], param, value)
        grads = [None if step == lacking else self._random(shape, param.dtype) for step in range(STEPS)]
        return _Tensor(group, value, sort, state, list(pairwise(edges)), grads)

    def _random(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        wide = torch.complex128 if dtype.is_complex else torch.float64
        return torch.randn(shape, dtype=wide, generator=self._generator).to(dtype)


def _kinds(optimizer: torch.optim.Optimizer) -> Iterator[tuple[int, torch.Tensor, list[torch.Tensor]]]:
    """Each kind of parameter that there is: its group, the smallest parameter of the kind, and all of them."""
    for number, group in enumerate(optimizer.param_groups):
        alike: dict[tuple[torch.dtype, int, bool], list[torch.Tensor]] = {}
        for param in group["params"]:
            if param.requires_grad and param.numel():
                alike.setdefault((param.dtype, param.dim(), _dense(param)), []).append(param)
        for params in alike.values():
            yield number, min(params, key=_numel), params


def _numel(param: torch.Tensor) -> int:
    return param.numel()


def _dense(param: torch.Tensor) -> bool:
    return bool(torch.ops.aten.is_non_overlapping_and_dense(param))


def _laid_out(each: _Tensor) -> torch.Tensor:
    """A copy of the value, with gaps if it is to have some."""
    return torch.stack([each.value, each.value], -1)[..., 0] if each.sort == "gaps" else each.value.clone()


def _shape(sizes: tuple[int, int], dims: int) -> tuple[int, ...]:
    if dims < 2:
        return (sizes[0] * sizes[1],) * dims
    return (*sizes, *(1,) * (dims - 2))


def _resized(state: Any, param: torch.Tensor, value: torch.Tensor) -> Any:
    """The state of a parameter for a tensor in its place: elements are taken again and again, or left out."""
    if isinstance(state, torch.Tensor) and state.dim() and state.shape == param.shape:
        elements = state.detach().reshape(-1)
        return elements[torch.arange(value.numel()) % len(elements)].view(value.shape)
    if isinstance(state, dict):
        return {key: _resized(item, param, value) for key, item in state.items()}
    if type(state) in (list, tuple):
        return type(state)(_resized(item, param, value) for item in state)
    return copy.deepcopy(state)


def _piece(tensor: torch.Tensor, start: int, stop: int) -> torch.Tensor:
    """A copy of a part; all of a 0-dim tensor."""
    return tensor.clone() if tensor.dim() == 0 else tensor.reshape(-1)[start:stop].clone()


def _cut(each: _Tensor, bounds: tuple[int, int]) -> Any:
    return None if each.state is None else cut(each.state, *bounds, param=each.value, where="its state")
