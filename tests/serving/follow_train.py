"""A job whose one weight is the number of steps that it has been trained for; slow, until a file is there."""

import argparse
import time
from pathlib import Path

import torch
from service_models import Scale

import pliant

SLOW_S = 0.1
parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, required=True)
parser.add_argument("--slow-until", type=Path, required=True)
args = parser.parse_args()
model = Scale()
with torch.no_grad():
    model.factor.zero_()
optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
job = pliant.join(model=model, optimizer=optimizer)
loader = pliant.Loader(torch.utils.data.TensorDataset(torch.ones(8)), batch_size=4, shards=4)
for step in job.steps(loader, steps=args.steps, epochs=args.steps):
    for (ones,) in step:
        step.backward((-model.factor * ones).mean())
    if not args.slow_until.exists():
        time.sleep(SLOW_S)
    optimizer.step()
    optimizer.zero_grad()
