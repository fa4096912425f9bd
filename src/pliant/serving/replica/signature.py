"""What a model says of its inputs and outputs, checked, in the words of the wire."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch

from pliant.errors import ConfigError
from pliant.serving.replica.arrays import datatype_of, dtype_of
from pliant.wire.tensors import Signature, TensorSpec

Declared = Mapping[str, tuple[str, tuple[int | str, ...]]]


class Described(Protocol):
    """What is read of a model."""

    inputs: Declared
    outputs: Declared
    pad: Mapping[str, Sequence[int]]
    fill: Mapping[str, float]
    repeatable: bool


def read_signature(model: Described, *, collates: bool = False, splits: bool = False) -> Signature:
    """What the model says.

    Args:
        model: as its class was written; nothing of it is called.
        collates: it puts requests together by a method of its own.
        splits: it takes answers apart by a method of its own.

    Raises:
        ConfigError: It makes no sense. Lists every problem.
    """
    problems: list[str] = []
    inputs = [_spec("input", name, given, problems) for name, given in model.inputs.items()]
    outputs = [_spec("output", name, given, problems) for name, given in model.outputs.items()]
    known = {dim for spec in inputs for dim in spec.dims if dim}
    for dim in sorted({dim for spec in outputs for dim in spec.dims if dim} - known):
        problems.append(
            f"the outputs have a dimension {dim!r}, and no input has it: {_known(known)}; or -1 for any size"
        )
    pads = {dim: _buckets(dim, sizes, known, problems) for dim, sizes in model.pad.items()}
    _check_fill(model.fill, inputs, problems)
    if pads and not outputs and not splits:
        problems.append(
            "pad is given and outputs is not: say what predict returns, so that what was padded can be cut back, as in "
            'outputs = {"scores": ("float32", (5,)), "tags": ("float32", ("length", 9))}'
        )
    predict: Any = type(model).predict  # type: ignore[attr-defined]
    streams = inspect.isgeneratorfunction(predict) or inspect.isasyncgenfunction(predict)
    signature = Signature(
        tuple(inputs), tuple(outputs), streams=streams, repeatable=model.repeatable,
        pads=pads, collates=collates, told=_told(predict, known, problems),
    )  # fmt: skip
    if streams and signature.uneven:
        problems.append("predict yields, one request at a time: there is nothing to pad or to collate, and no sizes")
    if problems:
        raise ConfigError(problems)
    return signature


def _spec(kind: str, name: str, given: object, problems: list[str]) -> TensorSpec:
    match given:
        case (str() | torch.dtype() as dtype, tuple() | list() as shape) if all(_is_size(size) for size in shape):
            dims = tuple(size if isinstance(size, str) else "" for size in shape)
            sizes = tuple(-1 if isinstance(size, str) else size for size in shape)
            try:
                return TensorSpec(name, datatype_of(dtype), sizes, dims if any(dims) else ())
            except ConfigError as error:
                problems.append(f"{kind} {name!r}: {error}")
        case _:
            problems.append(
                f'{kind} {name!r} is {given!r}; it should be like ("float32", (3, 32, 32)), with -1 or a name such as '
                '"length" for a dimension of any size'
            )
    return TensorSpec(name, "FP32", ())


def _is_size(size: object) -> bool:
    if isinstance(size, str):
        return size.isidentifier()
    return isinstance(size, int) and not isinstance(size, bool) and size >= -1


def _buckets(dim: str, sizes: object, known: set[str], problems: list[str]) -> tuple[int, ...]:
    if dim not in known:
        problems.append(f"pad names a dimension {dim!r}, and no input has it: {_known(known)}")
    match sizes:
        case tuple() | list() if all(isinstance(size, int) and size > 0 for size in sizes):
            if list(sizes) == sorted(set(sizes)):
                return tuple(sizes)
    problems.append(
        f"pad of {dim!r} is {sizes!r}; it should be sizes that rise, such as (32, 64, 128), or () for the longest of "
        "the batch"
    )
    return ()


def _known(dims: set[str]) -> str:
    return f"they have {', '.join(sorted(dims))}" if dims else 'none has a name, as "length" in ("int64", ("length",))'


def _check_fill(fill: Mapping[str, float], inputs: Sequence[TensorSpec], problems: list[str]) -> None:
    specs = {spec.name: spec for spec in inputs}
    for name, value in fill.items():
        if name not in specs:
            problems.append(f"fill names {name!r}, which is no input: there is {', '.join(specs) or 'none'}")
            continue
        try:
            held = torch.full((), value, dtype=dtype_of(specs[name].datatype)).item()
        except (TypeError, RuntimeError, OverflowError):
            held = None
        if held != value and specs[name].datatype not in ("FP16", "BF16", "FP32"):  # those are only rounded
            problems.append(f"fill of {name!r} is {value!r}, which {specs[name].datatype} cannot hold")


def _told(predict: Any, known: set[str], problems: list[str]) -> tuple[str, ...]:
    """Parameters of ``predict`` behind the batch: dimensions, of which it is told the sizes."""
    told = []
    for parameter in list(inspect.signature(predict).parameters.values())[2:]:  # the first are self and the batch
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if parameter.name in known and parameter.kind is not parameter.POSITIONAL_ONLY:
            told.append(parameter.name)
        elif parameter.default is parameter.empty:
            problems.append(
                f"predict wants {parameter.name!r}, and behind the batch it can be given sizes of the inputs' "
                f"dimensions only: {_known(known)}"
            )
    return tuple(told)
