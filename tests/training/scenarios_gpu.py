"""Several workers on one GPU: they meet over the mesh, through the host's memory."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from loops import Points, loader, mlp, run
from static_crew import scenario
from torch import nn


def to_gpu(model, loss=F.cross_entropy):
    model.cuda()
    return lambda batch: loss(model(batch[0].cuda()), batch[1].cuda())


@scenario
def dropout_and_batch_norm():
    model = mlp(nn.BatchNorm1d(16), nn.Dropout(0.3))
    loss_of = to_gpu(model)
    tracked = {"model": model, "optimizer": torch.optim.AdamW(model.parameters(), lr=0.01)}

    def update(job, step):
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        tracked["optimizer"].step()
        tracked["optimizer"].zero_grad()

    return run(tracked, loader(Points(96), batch_size=32), loss_of, update=update)


@scenario
def bf16_parameters_and_autocast():
    model = mlp()
    loss_of = to_gpu(model)
    model[2].to(torch.bfloat16)

    def under_autocast(batch):
        with torch.autocast("cuda", dtype=torch.bfloat16):
            return loss_of(batch)

    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    # 11 shards: a factor that bf16 cannot hold.
    return run({"model": model, "optimizer": optimizer}, loader(batch_size=22, shards=11), under_autocast)


@scenario
def grad_scaler():
    model = mlp()
    loss_of = to_gpu(model)
    scaler = torch.amp.GradScaler("cuda", init_scale=2.0**10)
    tracked = {"model": model, "optimizer": torch.optim.SGD(model.parameters(), lr=0.1), "scaler": scaler}

    def update(job, step):
        scaler.step(tracked["optimizer"])
        scaler.update()
        tracked["optimizer"].zero_grad()

    def scaled_loss(batch):
        return scaler.scale(loss_of(batch))

    return run(tracked, loader(), scaled_loss, update=update, options={"on_nonfinite": "continue"})
