"""A replica: computes the batches that the router sends, until it is told to end or nobody is left to tell it."""

from __future__ import annotations

import asyncio
import inspect
import logging
import secrets
import select
import time
import traceback
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import torch

from pliant.serving.replica.arrays import as_batch, outputs_of, requests_of, tensors_of
from pliant.serving.replica.model import Model
from pliant.serving.replica.sockets import FrameSocket, RouterGoneError
from pliant.serving.replica.uneven import answers_of
from pliant.wire.replica_messages import (
    BatchAnswer,
    BatchRaised,
    CancelBatch,
    EndReplica,
    Part,
    ReplicaHello,
    RunBatch,
    ToReplica,
)
from pliant.wire.tensors import Signature, TensorHead

_log = logging.getLogger(__name__)


class Replica:
    """One replica process, from its fork to its end. Blocking; one thread."""

    def __init__(self, model: Model, signature: Signature, path: Path, *, hello: ReplicaHello) -> None:
        self._model, self._signature = model, signature
        self._names = [spec.name for spec in signature.outputs]
        self._path = path
        self._hello = hello
        self._socket: FrameSocket[Any] = FrameSocket(ToReplica)

    def run(self) -> None:
        """Serve; returns when it is told to end, or when no router has come back in time."""
        self._socket.serve(self._path, hello=lambda: self._hello, serve_one=self._serve_one)

    def _serve_one(self) -> bool:
        head, payload = self._socket.receive()
        match head:
            case EndReplica():
                return False
            case CancelBatch():
                return True  # too late: it was answered
            case RunBatch():
                self._compute(head, payload)
        return True

    def _compute(self, head: RunBatch, payload: bytes) -> None:
        began_s = time.perf_counter()
        try:
            with torch.inference_mode():
                if head.requests:
                    answer, parts = self._uneven(head, payload)
                else:
                    result = self._model.predict(as_batch(tensors_of(head.inputs, payload)))
                    if inspect.isgenerator(result) or inspect.isasyncgen(result):
                        self._stream(head, result, began_s)
                        return
                    outputs, own = outputs_of(result, head.rows, self._names)
                    answer, parts = BatchAnswer(head.batch, outputs), [*own]
        except RouterGoneError:
            raise
        except Exception as error:
            self._raised(head.batch, error)
            return
        self._socket.send(msgspec.structs.replace(answer, seconds=time.perf_counter() - began_s), parts)

    def _uneven(self, head: RunBatch, payload: bytes) -> tuple[BatchAnswer, list[Part]]:
        """A batch whose requests may differ in shape."""
        requests = requests_of(head.requests, payload)
        outputs: list[tuple[TensorHead, ...]] = []
        parts: list[Part] = []
        for answer, inputs in zip(answers_of(self._model, requests, self._signature), head.requests, strict=True):
            heads, own = outputs_of(answer, inputs[0].shape[0], self._names)
            outputs.append(heads)
            parts += own
        return BatchAnswer(head.batch, (), requests=tuple(outputs)), parts

    def _stream(self, head: RunBatch, result: Any, began_s: float) -> None:
        for part in _parts(result):
            heads, parts = outputs_of(part, None, self._names)
            self._socket.send(BatchAnswer(head.batch, heads, last=False), parts)
            if self._is_cancelled(head.batch):
                break
        self._socket.send(BatchAnswer(head.batch, (), time.perf_counter() - began_s))

    def _is_cancelled(self, batch: int) -> bool:
        while self._socket.pending or select.select([self._socket], [], [], 0)[0]:
            cancel, _ = self._socket.receive()
            if isinstance(cancel, CancelBatch):
                return cancel.batch == batch
        return False

    def _raised(self, batch: int, error: Exception) -> None:
        error_id = secrets.token_hex(6)
        _log.error("predict raised (error id %s):\n%s", error_id, "".join(traceback.format_exception(error)))
        self._socket.send(BatchRaised(batch, f"{type(error).__name__}: {error}"[:2000], error_id))


def _parts(result: Any) -> Iterator[Any]:
    """Of a plain or an asynchronous generator."""
    if inspect.isgenerator(result):
        yield from result
        return
    with asyncio.Runner() as runner:
        generator: AsyncGenerator[Any, None] = result
        try:
            while True:
                yield runner.run(anext(generator))
        except StopAsyncIteration:
            return
        finally:
            runner.run(generator.aclose())


def warm_up(model: Model, example: dict[str, torch.Tensor], signature: Signature, *, times: int = 3) -> None:
    """Run the model as often as just-in-time compilers take to settle, before it is forked."""
    for _ in range(times):
        inputs = {name: tensor.clone() for name, tensor in example.items()}
        with torch.inference_mode():
            if signature.uneven:
                answers_of(model, [inputs], signature)
                continue
            result = model.predict(as_batch(inputs))
            if inspect.isgenerator(result) or inspect.isasyncgen(result):
                for _part in _parts(result):
                    break
