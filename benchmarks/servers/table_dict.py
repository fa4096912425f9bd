"""The same load with a plain dict of tensors, a row each, behind ``torch.distributed.rpc``: one server, one worker.

Rows begin at first touch, as Pliant's do. ``--whole``: the server stacks a batch's rows, computes on all at once, and
puts views of the result into the dict; without, it computes row by row.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch.distributed import rpc

from benchmarks.servers.contest import GATE
from benchmarks.servers.lookups import DIM, LR, POOL, Head, bags, lookup_arguments, zipf_batches
from benchmarks.turns import Turnstile

EPS = 1e-10
SERVER, WORKER = "server", "worker"
LIMIT_S = 600.0
"""For a call: the other systems train meanwhile."""
rows: dict[int, torch.Tensor] = {}
squares: dict[int, torch.Tensor] = {}


def pull(ids: torch.Tensor) -> torch.Tensor:
    """On the server: the rows of these ids, (n, DIM)."""
    for row in ids.tolist():
        if row not in rows:
            rows[row] = torch.randn(DIM) * 0.01
            squares[row] = torch.zeros(DIM)
    return torch.stack([rows[row] for row in ids.tolist()])


def push(ids: torch.Tensor, grads: torch.Tensor) -> None:
    """On the server: Adagrad, row by row."""
    for row, grad in zip(ids.tolist(), grads, strict=True):
        std = squares[row].addcmul_(grad, grad).sqrt().add_(EPS)
        rows[row].addcdiv_(grad, std, value=-LR)


def push_whole(ids: torch.Tensor, grads: torch.Tensor) -> None:
    """On the server: Adagrad, on all rows of the batch at once."""
    names = ids.tolist()
    sums = torch.stack([squares[row] for row in names]).addcmul_(grads, grads)
    fresh = torch.stack([rows[row] for row in names]).addcdiv_(grads, sums.sqrt().add_(EPS), value=-LR)
    # Copied one by one: a view would keep the memory of the whole batch.
    for row, total, values in zip(names, sums, fresh, strict=True):
        squares[row].copy_(total)
        rows[row].copy_(values)


def join_rpc(name: str, rank: int, directory: str) -> None:
    """Both meet through a file."""
    place = f"file://{Path(directory).absolute()}/rendezvous"
    options = rpc.TensorPipeRpcBackendOptions(init_method=place, rpc_timeout=LIMIT_S, num_worker_threads=4)
    rpc.init_rpc(name, rank=rank, world_size=2, rpc_backend_options=options)  # type: ignore[no-untyped-call]


def main() -> None:
    """As the server, answer until the worker is done; as the worker, train in turns."""
    args = lookup_arguments()
    torch.set_num_threads(1)
    join_rpc((WORKER, SERVER)[args.rank], args.rank, args.turns)
    if args.rank == 0:
        train(args)
    rpc.shutdown()


def train(args: argparse.Namespace) -> None:
    """All steps."""
    head, starts, pool = Head(), bags(), zipf_batches(args.rows)
    optimizer = torch.optim.SGD(head.parameters(), lr=LR)
    turnstile = Turnstile(args.turns, GATE, warm_up=args.warm_up, turn_steps=args.turn_steps)
    for step in range(args.steps):
        ids, places = torch.unique(pool[step % POOL], return_inverse=True)
        pulled = rpc.rpc_sync(SERVER, pull, args=(ids,)).requires_grad_()
        head(torch.nn.functional.embedding_bag(places, pulled, starts, mode="sum")).backward()
        rpc.rpc_sync(SERVER, push_whole if args.whole else push, args=(ids, pulled.grad))
        optimizer.step()
        optimizer.zero_grad()
        turnstile.step_done()


if __name__ == "__main__":
    main()
