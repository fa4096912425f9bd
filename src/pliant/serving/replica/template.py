"""The template of a service's version: loads the model once, and forks replicas from itself.

It is a fork of the service's zygote. One thread, also of torch; the garbage collector is told to leave alone what was
there before a replica was forked (``gc.freeze``), so that its pages stay shared.
"""

from __future__ import annotations

import gc
import itertools
import logging
import os
import time
import traceback
from pathlib import Path
from typing import Any

import msgspec
import torch

from pliant.errors import ConfigError, PliantError
from pliant.serving.replica.arrays import tensors_of
from pliant.serving.replica.compute import Replica, warm_up
from pliant.serving.replica.exact import Tiled, why_not_exact
from pliant.serving.replica.forks import Forks
from pliant.serving.replica.loading import find_model
from pliant.serving.replica.model import Model, signature_of
from pliant.serving.replica.sockets import FrameSocket, RouterGoneError
from pliant.wire.replica_messages import (
    EndTemplate,
    ForkReplica,
    ForkTemplate,
    ReplicaExited,
    ReplicaHello,
    TemplateFailed,
    TemplateHello,
    ToTemplate,
)
from pliant.wire.tensors import Signature, TensorHead

_log = logging.getLogger(__name__)
SOCKET = "router.sock"
MOST_SHAPES = 32
"""That a model is warmed up with: two dimensions of many buckets have more of them than anybody waits for."""


class Template:
    """One template process. Blocking; one thread."""

    def __init__(self, model: Model, hello: TemplateHello, directory: Path) -> None:
        self._model, self._hello, self._directory = model, hello, directory
        self._socket: FrameSocket[Any] = FrameSocket(ToTemplate)
        self._forks = Forks()

    def run(self) -> None:
        """Until it is told to end, or no router has come back in time."""
        self._socket.serve(self._directory / SOCKET, hello=self._greeting, serve_one=self._serve_one)

    def _greeting(self) -> TemplateHello:
        return msgspec.structs.replace(self._hello, replicas=self._forks.pids)

    def _serve_one(self) -> bool:
        if self._forks.wait(self._socket):
            head, _ = self._socket.receive()
            match head:
                case EndTemplate():
                    return False
                case ForkReplica(replica):
                    self._forks.fork(replica, lambda: self._be(replica), log=self._directory / f"r{replica}.log")
        for replica, exit_code in self._forks.ended():
            self._socket.send(ReplicaExited(replica, exit_code))
        return True

    def _be(self, replica: int) -> int:
        """In a fork: a replica."""
        self._socket.close()
        torch.manual_seed(int.from_bytes(os.urandom(8), "little", signed=True))
        told = self._hello
        hello = ReplicaHello(replica, os.getpid(), told.version, told.launch)
        Replica(self._model, told.signature, self._directory / SOCKET, hello=hello).run()
        return 0


def be_template(order: ForkTemplate, *, target: str, launch: str, threads: int) -> int:
    """Load the model, say so, and fork replicas until the end; returns the process's exit code."""
    torch.set_num_threads(threads)
    directory, began_s = Path(order.directory), time.monotonic()
    try:
        model, signature = load(target, Path(order.checkpoint) if order.checkpoint else None, tile=order.tile)
    except Exception as error:
        text = str(error) if isinstance(error, PliantError) else traceback.format_exc()
        _log.error("the model could not be loaded:\n%s", text)
        _say_failed(directory / SOCKET, TemplateFailed(order.version, text[-4000:]))
        return 1
    gc.collect()
    gc.freeze()
    hello = TemplateHello(os.getpid(), order.version, launch, signature, time.monotonic() - began_s)
    Template(model, hello, directory).run()
    return 0


def load(target: str, checkpoint: Path | None, *, tile: int = 0) -> tuple[Model, Signature]:
    """Find, load and warm up.

    Raises:
        PliantError: What the user gave cannot be served. Whatever the user's own code raises comes through.
    """
    model = find_model(target)
    signature = signature_of(model)
    if tile and (problems := why_not_exact(signature)):
        raise ConfigError(problems)
    model.checkpoint = checkpoint
    model.load()
    if tile:
        model = Tiled(model, tile)
    for example in examples_of(signature):
        warm_up(model, example, signature)
    return model, signature


def examples_of(signature: Signature) -> list[dict[str, torch.Tensor]]:
    """A row of zeros for each input, in every shape that there will be; none if the model leaves sizes open.

    Of many shapes, the first ``MOST_SHAPES``.
    """
    pads, axes = signature.pads, [axis for spec in signature.inputs for axis in spec.axes]
    if not signature.inputs or any(size == -1 and not pads.get(dim) for dim, size in axes):
        return []
    examples = []
    for sizes in itertools.islice(itertools.product(*pads.values()), MOST_SHAPES):
        size_of = dict(zip(pads, sizes, strict=True))
        heads = [
            TensorHead(spec.name, spec.datatype, (1, *(size_of.get(dim, size) for dim, size in spec.axes)))
            for spec in signature.inputs
        ]
        examples.append(tensors_of(heads, bytes(sum(head.size_bytes for head in heads))))
    return examples


def _say_failed(path: Path, failed: TemplateFailed) -> None:
    connection: FrameSocket[Any] = FrameSocket(ToTemplate)
    try:
        connection.connect(path)
        connection.send(failed)
        connection.close()
    except RouterGoneError as error:
        _log.error("and the router cannot be told: %s", error)
