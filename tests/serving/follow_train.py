"""A job whose one weight is the number of steps that it has been trained for."""

import argparse
import time

import torch
from service_models import Scale

import pliant

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, required=True)
parser.add_argument("--delay", type=float, default=0.0)
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
    time.sleep(args.delay)
    optimizer.step()
    optimizer.zero_grad()
