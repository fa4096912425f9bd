"""A batch of requests that may differ in shape: put together, computed, and taken apart again.

By default the named dimensions are filled up to one size (``shape_plan.padded_sizes``), and outputs that have such a
dimension are cut back to each request's own. A model's ``collate`` and ``split`` may do something else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch

from pliant.serving.replica.arrays import as_batch, named_outputs
from pliant.serving.shape_plan import padded_sizes, sizes_of
from pliant.wire.tensors import Signature, TensorSpec

Tensors = Mapping[str, torch.Tensor]
"""By the input's or output's name; the first dimension of each are the rows."""


class Collating(Protocol):
    """What is called of a model."""

    def collate(self, requests: Sequence[Any]) -> Any:
        """What ``predict`` is given."""

    @property
    def predict(self) -> Callable[..., Any]:
        """The answers of the batch; takes it, and sizes by their dimension's name."""

    def split(self, result: Any, requests: Sequence[Any]) -> Sequence[Any]:
        """The answer of each request."""


def answers_of(model: Collating, requests: Sequence[Tensors], signature: Signature) -> list[Any]:
    """The answer of each request, as ``predict`` returns them.

    Args:
        model: that computes.
        requests: its inputs by name, in their true shapes.
        signature: of the model.

    Raises:
        ValueError: What ``predict`` or ``split`` returned is no answer to them.
    """
    given = [as_batch(request) for request in requests]
    told = {dim: _sizes(requests, signature, dim) for dim in signature.told}
    result = model.predict(model.collate(given), **told)
    answers = list(model.split(result, given))
    if len(answers) != len(given):
        raise ValueError(f"split was given {len(given)} requests, and returned {len(answers)} answers")
    return answers


def by_name(request: Any, signature: Signature) -> Tensors:
    """The inputs of a request as a model's ``collate`` is given them, which is without a name if there is one."""
    if isinstance(request, torch.Tensor):
        return {signature.inputs[0].name if signature.inputs else "input": request}
    return dict(request)


def padded_together(requests: Sequence[Tensors], signature: Signature, fill: Mapping[str, float]) -> Tensors:
    """All rows of all requests as one tensor for each input, filled up where a request is smaller.

    Args:
        requests: with the same inputs, which differ in named dimensions only.
        signature: of the model.
        fill: input to the value behind the end; 0 where there is none.
    """
    padded = padded_sizes([_sizes_of(request, signature) for request in requests], signature)
    specs = {spec.name: spec for spec in signature.inputs}
    found = {}
    for name, first in requests[0].items():
        shape = _with_sizes(first.shape[1:], specs.get(name), padded)
        parts = [request[name] for request in requests]
        if all(part.shape[1:] == shape for part in parts):
            found[name] = torch.cat(parts)
            continue
        whole = torch.full((sum(map(len, parts)), *shape), fill.get(name, 0), dtype=first.dtype)
        begin = 0
        for part in parts:
            corner = whole[(slice(begin, begin + len(part)), *(slice(size) for size in part.shape[1:]))]
            corner.copy_(part)
            begin += len(part)
        found[name] = whole
    return found


def cut_apart(result: Any, requests: Sequence[Tensors], signature: Signature) -> list[dict[str, torch.Tensor]]:
    """What ``predict`` returned for the rows of all requests, for each request, without what was padded.

    Args:
        result: of ``predict``; every output has the rows of the batch.
        requests: in their true shapes.
        signature: of the model, which says which outputs have which dimension.

    Raises:
        ValueError: An output has other rows, or another size than the batch where it should have the batch's.
    """
    outputs = named_outputs(result, [spec.name for spec in signature.outputs])
    sizes = [_sizes_of(request, signature) for request in requests]
    rows = [_rows_of(request) for request in requests]
    # How a model's own collate has padded is not known, so only the least is.
    padded = {} if signature.collates else padded_sizes(sizes, signature)
    specs = {spec.name: spec for spec in signature.outputs}
    for name, tensor in outputs.items():
        if tensor.dim() == 0 or len(tensor) != sum(rows):
            raise ValueError(
                f"predict was given {sum(rows)} rows, and its output {name!r} has shape {list(tensor.shape)}: the "
                "first dimension must be the rows, in their order"
            )
        if signature.pads and name not in specs:
            raise ValueError(
                f"predict's output {name!r} is not among the model's outputs ({', '.join(specs)}): whether it is to be "
                "cut back is not known"
            )
    found: list[dict[str, torch.Tensor]] = []
    begin = 0
    for own, count in zip(sizes, rows, strict=True):
        here = {name: tensor[begin : begin + count] for name, tensor in outputs.items()}
        found.append(
            {name: _cut(name, tensor, specs.get(name), own=own, padded=padded) for name, tensor in here.items()}
        )
        begin += count
    return found


def _cut(
    name: str, tensor: torch.Tensor, spec: TensorSpec | None, *, own: Mapping[str, int], padded: Mapping[str, int]
) -> torch.Tensor:
    for at, dim in enumerate(spec.dims if spec is not None else (), start=1):
        if not dim:
            continue
        have = tensor.shape[at] if at < tensor.dim() else 0
        if have < own[dim] or have != padded.get(dim, have):
            raise ValueError(
                f"predict's output {name!r} has shape {[-1, *tensor.shape[1:]]}, and its dimension {at} is {dim}, "
                f"which is {padded.get(dim, own[dim])} in this batch"
            )
        tensor = tensor.narrow(at, 0, own[dim])
    return tensor


def _sizes(requests: Sequence[Tensors], signature: Signature, dim: str) -> torch.Tensor:
    """The true size of every row of the batch, (rows,) of int64."""
    return torch.tensor([_sizes_of(each, signature)[dim] for each in requests for _ in range(_rows_of(each))])


def _rows_of(request: Tensors) -> int:
    return len(next(iter(request.values())))


def _sizes_of(request: Tensors, signature: Signature) -> dict[str, int]:
    return sizes_of({name: tensor.shape for name, tensor in request.items()}, signature)


def _with_sizes(row: Sequence[int], spec: TensorSpec | None, padded: Mapping[str, int]) -> tuple[int, ...]:
    """The row's shape once its named dimensions have these sizes."""
    if spec is None:
        return tuple(row)
    return tuple(padded[dim] if dim else size for (dim, _), size in zip(spec.axes, row, strict=True))
