"""The template of a service's version: loads the model once, and forks replicas from itself.

``python -m pliant.serving.replica.template``, started by the router. One thread, also of torch: a fork copies only the
thread that forks, and finds every lock as it was. The pages with the weights are shared by all forks until somebody
writes to them; the garbage collector is told to leave alone what was there before (``gc.freeze``).
"""

from __future__ import annotations

import argparse
import gc
import itertools
import logging
import os
import select
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import torch

from pliant.errors import ConfigError, PliantError
from pliant.serving.replica.arrays import tensors_of
from pliant.serving.replica.compute import Replica, warm_up
from pliant.serving.replica.exact import Tiled, why_not_exact
from pliant.serving.replica.loading import find_model
from pliant.serving.replica.model import Model, signature_of
from pliant.serving.replica.sockets import FrameSocket, RouterGoneError
from pliant.wire.replica_messages import (
    EndTemplate,
    ForkReplica,
    ReplicaExited,
    ReplicaHello,
    TemplateFailed,
    TemplateHello,
    ToTemplate,
)
from pliant.wire.tensors import Signature, TensorHead

_log = logging.getLogger(__name__)
MOST_SHAPES = 32
"""That a model is warmed up with: two dimensions of many buckets have more of them than anybody waits for."""


class Template:
    """One template process. Blocking; one thread."""

    def __init__(self, model: Model, hello: TemplateHello, *, path: Path, logs: Path) -> None:
        self._model, self._hello, self._path, self._logs = model, hello, path, logs
        self._socket: FrameSocket[Any] = FrameSocket(ToTemplate)
        self._children: dict[int, int] = {}
        """Pid to replica."""
        self._wake, wake_end = os.pipe()
        os.set_blocking(wake_end, False)
        os.set_blocking(self._wake, False)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def run(self) -> None:
        """Until it is told to end, or no router has come back in time."""
        self._socket.serve(self._path, hello=self._greeting, serve_one=self._serve_one)

    def _greeting(self) -> TemplateHello:
        known = {replica: pid for pid, replica in self._children.items()}
        return msgspec.structs.replace(self._hello, replicas=known)

    def _serve_one(self) -> bool:
        ready = [self._socket.fileno()] if self._socket.pending else []
        if not ready:
            ready, _, _ = select.select([self._socket.fileno(), self._wake], [], [])
        if self._wake in ready:
            _drain(self._wake)
            self._reap()
        if self._socket.fileno() in ready:
            head, _ = self._socket.receive()
            match head:
                case EndTemplate():
                    return False
                case ForkReplica(replica):
                    self._fork(replica)
        return True

    def _fork(self, replica: int) -> None:
        pid = os.fork()
        if pid == 0:
            self._become(replica)
        self._children[pid] = replica

    def _become(self, replica: int) -> NoReturn:
        """In the fork: be a replica, and never return into the template's code."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            os.close(self._wake)
            self._socket.close()
            redirect(self._logs / f"r{replica}.log")
            torch.manual_seed(int.from_bytes(os.urandom(8), "little", signed=True))
            told = self._hello
            hello = ReplicaHello(replica, os.getpid(), told.version, told.launch)
            Replica(self._model, told.signature, self._path, hello=hello).run()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            replica = self._children.pop(pid, None)
            if replica is not None:
                self._socket.send(ReplicaExited(replica, os.waitstatus_to_exitcode(status)))


def redirect(log: Path) -> None:
    """Append file descriptors 1 and 2 to ``log``."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


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


def _drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 512):
            pass
    except BlockingIOError:
        pass


def main() -> int:
    """The process."""
    parser = argparse.ArgumentParser(prog="pliant.serving.replica.template", description=__doc__)
    parser.add_argument("--target", required=True)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--logs", type=Path, required=True)
    parser.add_argument("--version", type=int, required=True)
    parser.add_argument("--launch", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tile", type=int, default=0, help="rows that every batch is padded to; 0: none")
    parser.add_argument("--checkpoint", type=Path)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", force=True)
    torch.set_num_threads(args.threads)
    began_s = time.monotonic()
    try:
        model, signature = load(args.target, args.checkpoint, tile=args.tile)
    except Exception as error:
        text = str(error) if isinstance(error, PliantError) else traceback.format_exc()
        _log.error("the model could not be loaded:\n%s", text)
        _say_failed(args.socket, TemplateFailed(args.version, text[-4000:]))
        return 1
    gc.collect()
    gc.freeze()
    hello = TemplateHello(os.getpid(), args.version, args.launch, signature, time.monotonic() - began_s)
    Template(model, hello, path=args.socket, logs=args.logs).run()
    return 0


def _say_failed(path: Path, failed: TemplateFailed) -> None:
    connection: FrameSocket[Any] = FrameSocket(ToTemplate)
    try:
        connection.connect(path)
        connection.send(failed)
        connection.close()
    except RouterGoneError as error:
        _log.error("and the router cannot be told: %s", error)


if __name__ == "__main__":
    sys.exit(main())
