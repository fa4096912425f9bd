"""What every protocol makes of a body: tensors with a common number of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pliant.serving.shape_plan import misfits
from pliant.wire.tensors import Signature, TensorHead

MOST_TENSORS = 256
"""Inputs of a request, and outputs that it asks for."""


class BadRequestError(Exception):
    """The client's mistake: a 4xx status and what was expected."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        self.status = status
        super().__init__(message)


@dataclass(frozen=True)
class Tensor:
    """A head and its bytes."""

    head: TensorHead
    data: bytes | memoryview


@dataclass(frozen=True)
class InferRequest:
    """One request. ``outputs``: the names that are wanted, empty for all; ``binary``: those wanted as bytes."""

    inputs: tuple[Tensor, ...]
    id: str | None = None
    outputs: tuple[str, ...] = ()
    binary: frozenset[str] = frozenset()
    all_binary: bool = False
    """All outputs are wanted as bytes, where ``outputs`` names none."""

    @property
    def rows(self) -> int:
        """Of every input, after :func:`checked`."""
        return self.inputs[0].head.shape[0]

    @property
    def heads(self) -> tuple[TensorHead, ...]:
        """Of the inputs."""
        return tuple(tensor.head for tensor in self.inputs)


def checked(request: InferRequest, signature: Signature, *, most_rows: int) -> InferRequest:
    """The request with its inputs in the order of the signature.

    Raises:
        BadRequestError: It is not what the model takes.
    """
    heads = [tensor.head for tensor in request.inputs]
    names = [head.name for head in heads]
    if len(heads) > MOST_TENSORS:
        raise BadRequestError(f"{len(heads)} inputs in one request; at most {MOST_TENSORS} are taken")
    if twice := {name for name in names if names.count(name) > 1}:
        raise BadRequestError(f"input {', '.join(sorted(twice))}: the name is there twice")
    if not heads:
        raise BadRequestError(f"there is no input; expected {_expected(signature)}")
    inputs = request.inputs
    if signature.inputs:
        _match(heads, signature)
        by_name = {tensor.head.name: tensor for tensor in inputs}
        inputs = tuple(by_name[spec.name] for spec in signature.inputs)
    else:
        inputs = tuple(sorted(inputs, key=lambda tensor: tensor.head.name))
    for head in heads:
        if not head.shape or head.shape[0] < 1:
            raise BadRequestError(
                f"input {head.name} has shape {list(head.shape)}: its first dimension are the rows, at least one"
            )
    rows = {head.shape[0] for head in heads}
    if len(rows) > 1:
        counts = ", ".join(f"{head.name}: {head.shape[0]}" for head in heads)
        raise BadRequestError(f"the inputs have different numbers of rows ({counts})")
    if max(rows) > most_rows:
        raise BadRequestError(f"{max(rows)} rows in one request; at most {most_rows} are taken", status=413)
    if signature.outputs:
        check_outputs(request, [spec.name for spec in signature.outputs])
    return replace(request, inputs=inputs)


def check_outputs(request: InferRequest, known: Sequence[str]) -> None:
    """That the model has what is asked for.

    Raises:
        BadRequestError: It has not.
    """
    if unknown := set(request.outputs) - set(known):
        raise BadRequestError(f"there is no output {', '.join(sorted(unknown))}; the model has {', '.join(known)}")


def _match(heads: Sequence[TensorHead], signature: Signature) -> None:
    specs = {spec.name: spec for spec in signature.inputs}
    given = {head.name for head in heads}
    problems = [f"there is no input {name}" for name in sorted(given - specs.keys())]
    problems += [f"input {name} is missing" for name in sorted(specs.keys() - given)]
    problems += [problem for head in heads if head.name in specs and (problem := specs[head.name].problem(head))]
    problems = problems or misfits({head.name: head.shape for head in heads}, signature)
    if problems:
        raise BadRequestError(f"{'; '.join(problems)}. Expected {_expected(signature)}")


def _expected(signature: Signature) -> str:
    if not signature.inputs:
        return "one tensor"
    return ", ".join(f"{spec.name}: {spec.datatype} {[-1, *spec.shape]}" for spec in signature.inputs)
