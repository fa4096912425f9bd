"""A request while it is inside: its tensors, and where its answer goes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from pliant.serving.protocol.request import InferRequest, Tensor
from pliant.wire.replica_messages import BatchAnswer, RunBatch
from pliant.wire.tensors import TensorHead

FailKind = Literal["late", "raised", "killed", "cut", "stopping", "broken", "full"]


class ServeError(Exception):
    """A request that gets no answer. ``retry_after_s``: when trying again may help; None: it will not."""

    def __init__(self, kind: FailKind, message: str, *, retry_after_s: float | None = None) -> None:
        self.kind = kind
        self.retry_after_s = retry_after_s
        super().__init__(message)


@dataclass
class Pending:
    """One request. Exactly one of ``answer`` and ``parts`` is used: the whole answer, or a stream's."""

    request: InferRequest
    came_s: float
    answer: asyncio.Future[list[Tensor]] | None = None
    parts: asyncio.Queue[list[Tensor] | ServeError | None] | None = None
    """None: the end."""

    def deliver(self, outputs: list[Tensor]) -> None:
        """The answer, or a part of it."""
        if self.parts is not None:
            self.parts.put_nowait(outputs)
        elif self.answer is not None and not self.answer.done():
            self.answer.set_result(outputs)

    def fail(self, error: ServeError) -> None:
        """No answer, or no more of it."""
        if self.parts is not None:
            self.parts.put_nowait(error)
        elif self.answer is not None and not self.answer.done():
            self.answer.set_exception(error)

    def finish(self) -> None:
        """Of a stream: there is no more."""
        if self.parts is not None:
            self.parts.put_nowait(None)


@dataclass
class Flight:
    """A batch that a replica computes."""

    number: int
    requests: list[tuple[int, Pending]] = field(default_factory=list)
    began_s: float = 0.0


def batch_frame(
    number: int, requests: Sequence[InferRequest], *, uneven: bool
) -> tuple[RunBatch, list[bytes | memoryview]]:
    """What a replica is sent for these requests, and the bytes behind it.

    Args:
        number: of the batch.
        requests: that may share a batch.
        uneven: they may differ in shape, so each goes by itself. Else their bytes are put behind each other, which
            joins them, as rows are the first dimension.
    """
    rows = sum(request.rows for request in requests)
    if uneven:
        parts = [tensor.data for request in requests for tensor in request.inputs]
        return RunBatch(number, rows, (), tuple(request.heads for request in requests)), parts
    heads, parts = [], []
    for at, tensor in enumerate(requests[0].inputs):
        heads.append(TensorHead(tensor.head.name, tensor.head.datatype, (rows, *tensor.head.shape[1:])))
        parts += [request.inputs[at].data for request in requests]
    return RunBatch(number, rows, tuple(heads)), parts


def outputs_of(answer: BatchAnswer, payload: bytes, rows: Sequence[int]) -> list[list[Tensor]]:
    """The outputs of each request of a batch, which have so many rows: slices of the payload, not copied."""
    if not answer.requests:
        return _split_outputs(answer.outputs, payload, rows)
    view, begin, found = memoryview(payload), 0, []
    for heads in answer.requests:
        size_bytes = sum(head.size_bytes for head in heads)
        found.append(whole_outputs(heads, view[begin : begin + size_bytes]))
        begin += size_bytes
    return found


def _split_outputs(heads: Sequence[TensorHead], payload: bytes, rows: Sequence[int]) -> list[list[Tensor]]:
    view, begin = memoryview(payload), 0
    found: list[list[Tensor]] = [[] for _ in rows]
    total = sum(rows)
    for head in heads:
        row_bytes = head.size_bytes // total
        for outputs, count in zip(found, rows, strict=True):
            end = begin + count * row_bytes
            outputs.append(Tensor(TensorHead(head.name, head.datatype, (count, *head.shape[1:])), view[begin:end]))
            begin = end
    return found


def whole_outputs(heads: Sequence[TensorHead], payload: bytes | memoryview) -> list[Tensor]:
    """The outputs of one request, or of a part of a stream, as they are."""
    view, begin, found = memoryview(payload), 0, []
    for head in heads:
        found.append(Tensor(head, view[begin : begin + head.size_bytes]))
        begin += head.size_bytes
    return found
