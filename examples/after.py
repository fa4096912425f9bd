"""An ordinary training script. ``diff examples/before.py examples/after.py`` shows what makes it elastic."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

import pliant

torch.manual_seed(0)
x = torch.randn(4096, 32)
dataset = TensorDataset(x, (x[:, :4].sum(dim=1) > 0).long())

model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 2))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=160)

job = pliant.join(model=model, optimizer=optimizer, scheduler=scheduler)
loader = pliant.Loader(dataset, batch_size=256, shards=8, seed=0)

for epoch in range(10):
    for step in job.steps(loader, epochs=1):
        for x, y in step:
            step.backward(F.cross_entropy(model(x), y))
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
    if job.is_main:
        print(epoch, step.loss)
