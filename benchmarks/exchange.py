"""Times the real reduction alone: n forked processes, one gradient each, over the mesh's own TCP connections."""

from __future__ import annotations

import multiprocessing
import socket
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection

import msgspec
import torch
from torch import nn

from benchmarks.spread import Spread, spread
from pliant.comm.mesh import MeshGroup
from pliant.parallel.engine import PassEngine
from pliant.parallel.layout import Layout
from pliant.parallel.pass_messages import Flags

TENSOR_BYTES = 1 << 20
WARM_UP = 3
TIMEOUT_S = 300.0


class Measured(msgspec.Struct, frozen=True):
    """One size at one worker count."""

    workers: int
    gradient_bytes: int
    buckets: int
    seconds: Spread


def measure(*, workers: int, gradient_bytes: int, repeats: int) -> Measured:
    """Time ``repeats`` reductions on rank 0, each begun together."""
    context = multiprocessing.get_context("fork")
    sockets = _mesh(workers)
    parent, child = context.Pipe()
    processes = []
    for rank in range(workers):
        args = (sockets, rank, gradient_bytes, repeats, child if rank == 0 else None)
        processes.append(context.Process(target=_member, args=args, daemon=True))
        processes[-1].start()
    for mine in sockets.values():
        for sock in mine.values():
            sock.close()
    try:
        if not parent.poll(TIMEOUT_S):
            raise RuntimeError(f"{workers} workers did not reduce {gradient_bytes} bytes within {TIMEOUT_S:.0f} s")
        times_s, buckets = parent.recv()
    finally:
        for process in processes:
            process.join(10)
            if process.is_alive():
                process.kill()
                process.join()
    return Measured(workers, gradient_bytes, buckets, spread(times_s[WARM_UP:]))


def _mesh(workers: int) -> dict[int, dict[int, socket.socket]]:
    """A loopback TCP connection for every pair; ``[rank][peer]``."""
    sockets: dict[int, dict[int, socket.socket]] = {rank: {} for rank in range(workers)}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for rank in range(workers):
            for peer in range(rank):
                sockets[rank][peer] = socket.create_connection(listener.getsockname())
                sockets[peer][rank] = listener.accept()[0]
    return sockets


def _gradient_model(gradient_bytes: int) -> nn.Module:
    sizes = [TENSOR_BYTES] * (gradient_bytes // TENSOR_BYTES) or [gradient_bytes]
    return nn.ParameterList([nn.Parameter(torch.ones(size // 4)) for size in sizes])


def _member(
    sockets: Mapping[int, dict[int, socket.socket]],
    rank: int,
    gradient_bytes: int,
    repeats: int,
    report: Connection | None,
) -> None:
    torch.set_num_threads(1)
    for other, pairs in sockets.items():
        if other != rank:
            for sock in pairs.values():
                sock.close()
    model = _gradient_model(gradient_bytes)
    group = MeshGroup(1, rank, sockets[rank])
    engine = PassEngine({"model": model}, shards=group.size)
    times_s: list[float] = []
    for number in range(repeats + WARM_UP):
        engine.begin(number)
        for param in model.parameters():
            param.grad = torch.ones_like(param)
        engine.close_shard(rank, scale=1.0, loss=0.0)
        group.exchange(b"")
        began_s = time.perf_counter()
        result = engine.reduce(group, Flags())
        times_s.append(time.perf_counter() - began_s)
        engine.commit(result)
        for param in model.parameters():
            param.grad = None
    if report is not None:
        named = [(name, param) for name, param in model.named_parameters()]
        report.send((times_s, len(Layout(named).buckets)))
    group.exchange(b"")
    engine.close()
    group.close()
