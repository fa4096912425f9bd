"""torchft's fault-tolerant DDP, after the train_ddp.py that its README names."""

import os
from datetime import timedelta

import torch
from torchdata.stateful_dataloader import StatefulDataLoader
from torchft import DistributedDataParallel, DistributedSampler, Manager, Optimizer, ProcessGroupGloo
from torchft.checkpointing.pg_transport import PGTransport

from benchmarks.peers.book import Book
from benchmarks.peers.workload import build, options

args = options()
work = build(args)
group, groups = int(os.environ["REPLICA_GROUP_ID"]), int(os.environ["NUM_REPLICA_GROUPS"])


def load_state_dict(state):
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optim"])


def state_dict():
    return {"model": model.state_dict(), "optim": optimizer.state_dict()}


pg = ProcessGroupGloo(timeout=timedelta(seconds=5))
manager = Manager(
    pg=pg,
    min_replica_size=1,
    load_state_dict=load_state_dict,
    state_dict=state_dict,
    replica_id=f"train_ddp_{group}",
    timeout=timedelta(seconds=30),
    heartbeat_interval=timedelta(milliseconds=int(os.environ["HEARTBEAT_MS"])),
    checkpoint_transport=PGTransport(pg, timeout=timedelta(seconds=10), device="cpu"),
)
model = DistributedDataParallel(manager, work.model)
optimizer = Optimizer(manager, torch.optim.AdamW(model.parameters(), lr=1e-3))
sampler = DistributedSampler(
    work.dataset, replica_rank=group, num_replica_groups=groups, group_rank=0, num_replicas=1, shuffle=True
)
loader = StatefulDataLoader(work.dataset, batch_size=args.batch // groups, sampler=sampler)

book = Book(args.books)
while manager.current_step() < args.steps:
    for ids, x, y in loader:
        optimizer.zero_grad()
        book.computes(step := manager.current_step(), ids)
        work.loss(model, x, y).backward()
        optimizer.step()
        if manager.current_step() > step:  # measuring: otherwise the step was dropped
            book.commit(manager.current_step() - 1, ids)
        if manager.current_step() >= args.steps:
            break
book.end(manager.current_step(), model)
manager.shutdown(wait=False)
