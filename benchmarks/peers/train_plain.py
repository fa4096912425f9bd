"""The plain script that the others begin from: one process, nothing distributed."""

import torch
from torch.utils.data import DataLoader

from benchmarks.peers.book import Book
from benchmarks.peers.workload import build, options

args = options()
work = build(args)
model = work.model
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
loader = DataLoader(work.dataset, batch_size=args.batch, shuffle=True)

book = Book(args.books)
for step, (ids, x, y) in enumerate(loader):
    book.computes(step, ids)
    work.loss(model, x, y).backward()
    optimizer.step()
    optimizer.zero_grad()
    book.commit(step, ids)
book.end(args.steps, model)
