"""Elastic under torchrun: DDP, a snapshot on disk as the tutorial "Fault-tolerant Distributed Training" has it, and
torch.distributed.elastic's own sampler, which begins where the snapshot was."""

import os

import torch
from torch import distributed
from torch.distributed.elastic.utils.data import ElasticDistributedSampler
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from benchmarks.peers.book import Book
from benchmarks.peers.workload import SNAPSHOT_EVERY, build, options, save_atomically

args = options()
work = build(args)
distributed.init_process_group("gloo")
model = DistributedDataParallel(work.model)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
path = os.path.join(args.books, "snapshot.pt")
done = 0
if os.path.exists(path):
    snapshot = torch.load(path)
    model.module.load_state_dict(snapshot["model"])
    optimizer.load_state_dict(snapshot["optimizer"])
    done = snapshot["done"]
sampler = ElasticDistributedSampler(work.dataset, start_index=done * args.batch)
loader = DataLoader(work.dataset, batch_size=args.batch // distributed.get_world_size(), sampler=sampler)

book = Book(args.books)
for step, (ids, x, y) in enumerate(loader, start=done):
    book.computes(step, ids)
    work.loss(model, x, y).backward()
    optimizer.step()
    optimizer.zero_grad()
    book.commit(step, ids)
    if (step + 1) % SNAPSHOT_EVERY == 0 and distributed.get_rank() == 0:
        snapshot = {"model": model.module.state_dict(), "optimizer": optimizer.state_dict(), "done": step + 1}
        save_atomically(path, lambda name: torch.save(snapshot, name))  # noqa: B023 - called at once
book.end(args.steps, model)
distributed.destroy_process_group()
