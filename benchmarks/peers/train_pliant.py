"""Pliant, as its README has it."""

import torch

import pliant
from benchmarks.peers.book import Book
from benchmarks.peers.workload import build, options

args = options()
work = build(args)
model = work.model
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
job = pliant.join(model=model, optimizer=optimizer)
loader = pliant.Loader(work.dataset, batch_size=args.batch, shards=args.shards)

book = Book(args.books)
for step in job.steps(loader):
    mine = []  # measuring
    book.muted = getattr(job.session.crew, "rehearsing", False)  # a newcomer's throw-away step
    for ids, x, y in step:
        book.computes(step.number, ids)
        mine += ids  # measuring
        step.backward(work.loss(model, x, y))
    optimizer.step()
    optimizer.zero_grad()
    book.commit(step.number, mine)
book.end(args.steps, model)
