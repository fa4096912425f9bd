"""The plain side of a comparison: DistributedDataParallel on Gloo, one process for each worker, as its manual has it.

The same model, data and global batch as benchmarks/train_pliant.py. ``--mode accumulate`` goes through the same
micro-batches with ``no_sync`` on all but the last; ``--mode single`` takes the worker's part of the batch in one pass.
"""

from __future__ import annotations

import contextlib
import os

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

from benchmarks.memory import PeakMemory
from benchmarks.turns import Turnstile
from benchmarks.workload import build, workload_arguments


def main() -> None:
    """Train for a fixed number of steps; rank, world size and meeting place (a file) come from the environment."""
    parser = workload_arguments()
    parser.add_argument("--mode", choices=("single", "accumulate"), required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    distributed.init_process_group(
        "gloo", init_method=f"file://{os.environ['RENDEZVOUS']}", rank=rank, world_size=world
    )
    work = build(args.model, samples=args.steps * args.shards * args.per_shard, context=args.context)
    memory = PeakMemory()
    optimizer = torch.optim.AdamW(work.model.parameters(), lr=1e-3)
    model = DistributedDataParallel(work.model)
    micro_batches = args.shards // world if args.mode == "accumulate" else 1
    size = args.shards * args.per_shard // world // micro_batches
    loader = DataLoader(work.dataset, batch_size=size, sampler=DistributedSampler(work.dataset))
    turnstile = Turnstile(args.turns, "ddp", warm_up=args.warm_up, turn_steps=args.turn_steps) if rank == 0 else None
    for number, (x, y) in enumerate(loader, start=1):
        last = number % micro_batches == 0
        with contextlib.nullcontext() if last else model.no_sync():
            (work.loss(model, x, y) / micro_batches).backward()
        if last:
            optimizer.step()
            optimizer.zero_grad()
            if turnstile is not None:
                turnstile.step_done()
    memory.write(args.turns, "ddp")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
