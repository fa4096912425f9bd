"""DistributedDataParallel on Gloo, as the PyTorch tutorial has it."""

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

from benchmarks.peers.book import Book
from benchmarks.peers.workload import build, options

args = options()
work = build(args)
distributed.init_process_group("gloo")
model = DistributedDataParallel(work.model)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
sampler = DistributedSampler(work.dataset)
loader = DataLoader(work.dataset, batch_size=args.batch // distributed.get_world_size(), sampler=sampler)

book = Book(args.books)
for step, (ids, x, y) in enumerate(loader):
    book.computes(step, ids)
    work.loss(model, x, y).backward()
    optimizer.step()
    optimizer.zero_grad()
    book.commit(step, ids)
book.end(args.steps, model)
distributed.destroy_process_group()
