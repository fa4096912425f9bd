"""Workers as threads over a loopback mesh, gradients that are a function of the shard, and a reference sum."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any

import torch
from torch import nn

from pliant.comm.mesh import MeshGroup
from pliant.errors import ConnectionLostError
from pliant.parallel.engine import PassEngine, PassResult
from pliant.parallel.pass_messages import Flags

DEADLINE_S = 30.0


def mesh(size: int, *, generation: int = 1) -> list[MeshGroup]:
    """One group for each rank, all connected over loopback."""
    sockets: list[dict[int, socket.socket]] = [{} for _ in range(size)]
    with socket.create_server(("127.0.0.1", 0)) as server:
        for left in range(size):
            for right in range(left + 1, size):
                sockets[left][right] = socket.create_connection(server.getsockname())
                sockets[right][left], _ = server.accept()
    return [MeshGroup(generation, rank, mine) for rank, mine in enumerate(sockets)]


def outcomes(functions: Iterable[Callable[[], Any]]) -> list[Any]:
    """Run all at once in threads; what each returned, or the exception it raised."""
    futures: list[Future[Any]] = []
    for function in functions:
        future: Future[Any] = Future()

        def run(function: Callable[[], Any] = function, future: Future[Any] = future) -> None:
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        futures.append(future)
    return [future.exception(DEADLINE_S) or future.result() for future in futures]


def together(functions: Iterable[Callable[[], Any]]) -> list[Any]:
    """As :func:`outcomes`, but an exception is raised here: the first that is not just a lost connection."""
    found = outcomes(functions)
    errors = [each for each in found if isinstance(each, BaseException)]
    for error in sorted(errors, key=lambda error: isinstance(error, ConnectionLostError)):
        raise error
    return found


def aborting(group: MeshGroup, function: Callable[[], Any]) -> Callable[[], Any]:
    """``function``, which aborts ``group`` if it fails, so that its peers fail as well instead of waiting."""

    def run() -> Any:
        try:
            return function()
        except BaseException:
            group.abort()
            raise

    return run


class Parts(nn.Module):
    """Parameters of several dtypes, shapes and strides, two buffers, and no forward."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Parameter(torch.zeros(33, 7))
        self.image = nn.Parameter(torch.zeros(4, 3, 3, 3).to(memory_format=torch.channels_last))
        self.brain = nn.Parameter(torch.zeros(129, dtype=torch.bfloat16))
        self.precise = nn.Parameter(torch.zeros(5, dtype=torch.float64))
        self.scalar = nn.Parameter(torch.zeros(()))
        self.hollow = nn.Parameter(torch.zeros(0, 4))
        self.turned = nn.Parameter(torch.zeros(6, 5).t())
        self.some = nn.Parameter(torch.zeros(11))
        self.never = nn.Parameter(torch.zeros(3))
        self.register_buffer("mean", torch.zeros(9))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))


def gradients(model: nn.Module, shard: int) -> dict[str, torch.Tensor | None]:
    """What autograd would leave for ``shard``. ``some`` has none in every other shard, ``never`` in no shard."""
    generator = torch.Generator().manual_seed(shard)
    found: dict[str, torch.Tensor | None] = {}
    for name, param in model.named_parameters():
        value = torch.randn(param.shape, generator=generator, dtype=torch.float64) * 10.0 ** (shard % 5 - 2)
        skipped = name == "never" or (name == "some" and shard % 2 == 0)
        found[name] = None if skipped else torch.empty_like(param, requires_grad=False).copy_(value)
    return found


def scale_of(shard: int) -> float:
    return [1.0, 0.5, 1.0, 0.25, 0.3][shard % 5]


def compute(engine: PassEngine, model: nn.Module, shard: int, *, stream: MeshGroup | None = None) -> None:
    """One shard: its gradients through autograd, its buffer changes."""
    engine.open_shard(shard, scale=scale_of(shard), group=stream)
    pieces = []
    for name, grad in gradients(model, shard).items():
        if grad is not None:
            pieces.append((model.get_parameter(name) * grad).sum().double())
    torch.stack(pieces).sum().backward()
    with torch.no_grad():
        model.mean += torch.arange(9) * (0.1 + shard)
        model.count += shard
    engine.close_shard(shard, scale=scale_of(shard), loss=float(shard) / 3)


def one_pass(
    engine: PassEngine, model: nn.Module, group: MeshGroup, held: Sequence[int], *, number: int = 0, stream: bool = True
) -> PassResult:
    """A whole pass on one worker."""
    engine.begin(number)
    for shard in held:
        last = stream and shard == held[-1] and group.size > 1
        compute(engine, model, shard, stream=group if last else None)
    result = engine.reduce(group, Flags(samples=len(held)))
    engine.commit(result)
    return result


def raw(tensor: torch.Tensor | None) -> tuple[Any, ...] | None:
    """Everything about a tensor, bit for bit."""
    if tensor is None:
        return None
    flat = tensor.detach().contiguous().reshape(-1)
    return (
        tuple(tensor.shape),
        str(tensor.dtype),
        bytes(flat.view(torch.uint8).numpy().tobytes()) if flat.numel() else b"",
    )


def grads_of(model: nn.Module) -> dict[str, Any]:
    """The gradients of all parameters, bit for bit."""
    return {name: raw(param.grad) for name, param in model.named_parameters()}


def state_of(model: nn.Module) -> dict[str, Any]:
    """Gradients and buffers, bit for bit."""
    return grads_of(model) | {name: raw(buffer) for name, buffer in model.named_buffers()}


def reference_grads(model: nn.Module, shards: int) -> dict[str, Any]:
    """The mean over all shards, added up literally along the documented tree."""
    leaves = [gradients(model, shard) for shard in range(shards)]

    def add(left: Any, right: Any) -> Any:
        return right if left is None else left if right is None else left + right

    def total(start: int, stop: int, pick: Callable[[int], Any]) -> Any:
        if stop - start == 1:
            return pick(start)
        half = 1
        while half * 2 < stop - start:
            half *= 2
        return add(total(start, start + half, pick), total(start + half, stop, pick))

    factor = 1.0 / total(0, shards, scale_of)
    found: dict[str, Any] = {}
    for name, _ in model.named_parameters():
        summed = total(0, shards, lambda shard, name=name: leaves[shard][name])
        found[name] = raw(None if summed is None else torch.zeros((), dtype=summed.dtype) + summed * factor)
    return found
