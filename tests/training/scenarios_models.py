"""Models, optimizers and numerics that must give the same bits on every crew."""

from __future__ import annotations

import copy
import random

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from loops import Points, cross_entropy, digest, loader, mlp, run
from static_crew import scenario
from torch import nn

import pliant


def adamw(model, **options):
    return torch.optim.AdamW(model.parameters(), lr=0.01, **options)


@scenario
def plain_adamw():
    model = mlp()
    return run({"model": model, "optimizer": adamw(model)}, loader(), cross_entropy(model))


@scenario
def sgd_momentum_without_overlap():
    model = mlp()
    tracked = {"model": model, "optimizer": torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)}
    return run(tracked, loader(), cross_entropy(model), options={"overlap": False})


@scenario
def more_workers_than_shards():
    model = mlp()
    return run({"model": model, "optimizer": adamw(model)}, loader(shards=4), cross_entropy(model))


@scenario
def shards_that_are_no_power_of_two():
    model = mlp()
    data = loader(batch_size=22, shards=11)
    return run({"model": model, "optimizer": adamw(model)}, data, cross_entropy(model))


@scenario
def one_shard():
    model = mlp()
    return run({"model": model, "optimizer": adamw(model)}, loader(shards=1), cross_entropy(model))


@scenario
def dropout_and_all_kinds_of_randomness():
    model = mlp(nn.Dropout(0.3))

    def loss_of(batch):
        x, y = batch
        x = x + torch.randn_like(x) * random.random() + float(np.random.rand())
        return F.cross_entropy(model(x) * (1 + random.gauss(0, 0.1)), y)

    tracked = {"model": model, "optimizer": adamw(model)}

    def update(job, step):
        for param in model.parameters():
            param.grad += torch.randn_like(param) * random.random() * float(np.random.rand())  # after the inner loop
        tracked["optimizer"].step()
        tracked["optimizer"].zero_grad()

    return run(tracked, loader(), loss_of, update=update)


@scenario
def batch_norm():
    model = mlp(nn.BatchNorm1d(16), nn.BatchNorm1d(16, momentum=None))
    return run({"model": model, "optimizer": adamw(model)}, loader(Points(96), batch_size=32), cross_entropy(model))


class Remembering(nn.Module):
    """Buffers of all kinds: replaced, written in place, constant (with infinities), counted, absent."""

    def __init__(self):
        super().__init__()
        self.register_buffer("average", torch.zeros(16))
        self.register_buffer("largest", torch.zeros(16, dtype=torch.int64))
        self.register_buffer("seen", torch.zeros((), dtype=torch.bool))
        self.register_buffer("mask", torch.tensor([0.0, float("-inf"), float("inf"), -0.0]))
        self.register_buffer("nothing", None)
        self.register_buffer("scratch", torch.zeros(3), persistent=False)

    def forward(self, x):
        self.average = 0.9 * self.average + 0.1 * x.detach().mean(0)
        self.largest.copy_(torch.maximum(self.largest, (x.detach() * 100).amax(0).long()))
        self.seen |= True
        self.scratch += 1
        return x + self.average


@scenario
def buffers_of_all_kinds():
    model = mlp(Remembering())
    found = run({"model": model, "optimizer": adamw(model)}, loader(), cross_entropy(model))
    assert bool(model[2].seen)
    assert str(model[2].mask.tolist()) == "[0.0, -inf, inf, -0.0]"
    return found


@scenario
def spectral_norm():
    torch.manual_seed(5)
    model = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(6, 16)), nn.Tanh(), nn.Linear(16, 3))
    return run({"model": model, "optimizer": adamw(model)}, loader(), cross_entropy(model))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.embed = nn.Embedding(11, 8)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        return self.head(self.norm(self.embed(tokens)))


@scenario
def weight_tying():
    model = Tied()
    tokens = [torch.arange(i, i + 6) % 11 for i in range(48)]

    def loss_of(batch):
        return F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())

    return run({"model": model, "optimizer": adamw(model)}, loader(tokens), loss_of)


@scenario
def parameters_unused_in_some_shards_and_always():
    torch.manual_seed(5)
    model = nn.ModuleDict({"even": nn.Linear(6, 3), "odd": nn.Linear(6, 3), "never": nn.Linear(6, 3)})
    model.register_parameter("lonely", nn.Parameter(torch.ones(())))
    never = [p.clone() for p in model["never"].parameters()]

    def loss_of(batch):
        x, y = batch
        branch = "even" if int(y[0]) % 2 == 0 else "odd"
        extra = model.lonely if int(y[-1]) == 1 else 0.0
        return F.cross_entropy(model[branch](x) * (1 + extra), y)

    # Weight decay would move a parameter whose gradient is zero, and must not move one that has none.
    found = run({"model": model, "optimizer": adamw(model, weight_decay=0.5)}, loader(), loss_of)
    assert all(torch.equal(a, b) for a, b in zip(never, model["never"].parameters(), strict=True))
    return found


@scenario
def frozen_parameters_and_several_groups():
    model = mlp(nn.Linear(16, 16))
    model[2].weight.requires_grad_(False)
    frozen = model[2].weight.clone()
    groups = [
        {"params": model[0].parameters(), "lr": 0.1},
        {"params": [p for p in model[2:].parameters() if p.requires_grad], "weight_decay": 0.1},
    ]
    found = run({"model": model, "optimizer": torch.optim.AdamW(groups, lr=0.01)}, loader(), cross_entropy(model))
    assert torch.equal(frozen, model[2].weight)
    return found


@scenario
def parameters_frozen_and_freed_on_the_way():
    model = mlp(nn.Linear(16, 16))
    tracked = {"model": model, "optimizer": adamw(model)}

    def update(job, step):
        tracked["optimizer"].step()
        tracked["optimizer"].zero_grad()
        for param in model[2].parameters():
            param.requires_grad_(step.number % 3 != 1)

    return run(tracked, loader(), cross_entropy(model), update=update, epochs=2)


@scenario
def clipping_and_schedule():
    model = mlp()
    tracked = {"model": model, "optimizer": adamw(model)}
    tracked["scheduler"] = torch.optim.lr_scheduler.OneCycleLR(tracked["optimizer"], 0.1, total_steps=9)
    norms = []

    def update(job, step):
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 0.05).item().hex())
        tracked["optimizer"].step()
        tracked["optimizer"].zero_grad()
        tracked["scheduler"].step()

    return run(tracked, loader(), cross_entropy(model), update=update) | {"norms": norms}


@scenario
def autocast_bf16():
    model = mlp(nn.LayerNorm(16))

    def loss_of(batch):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return F.cross_entropy(model(batch[0]), batch[1])

    return run({"model": model, "optimizer": adamw(model)}, loader(), loss_of)


@scenario
def bf16_and_float64_parameters_beside_float32():
    model = mlp()
    model[0].to(torch.bfloat16)
    model[2].to(torch.float64)

    def loss_of(batch):
        hidden = torch.tanh(model[0](batch[0].bfloat16()))
        return F.cross_entropy(model[2](hidden.double()), batch[1])

    return run({"model": model, "optimizer": adamw(model)}, loader(), loss_of)


@scenario
def channels_last_convolution():
    torch.manual_seed(5)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).to(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(1)
    images = [(torch.randn(3, 8, 8, generator=generator), i % 4) for i in range(32)]
    tracked = {"model": model, "optimizer": adamw(model)}

    def loss_of(batch):
        return F.cross_entropy(model(batch[0].to(memory_format=torch.channels_last)), batch[1])

    def update(job, step):
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        assert all(p.grad.stride() == p.stride() for p in model.parameters())
        tracked["optimizer"].step()
        tracked["optimizer"].zero_grad()

    return run(tracked, loader(images, batch_size=16), loss_of, update=update)


@scenario
def gradients_kept_over_steps():
    model = mlp()
    tracked = {"model": model, "optimizer": torch.optim.SGD(model.parameters(), lr=0.05)}

    def update(job, step):
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        tracked["optimizer"].step()  # and no zero_grad

    return run(tracked, loader(), cross_entropy(model), update=update)


@scenario
def gradients_set_to_zero():
    model = mlp()
    tracked = {"model": model, "optimizer": adamw(model)}

    def update(job, step):
        tracked["optimizer"].step()
        tracked["optimizer"].zero_grad(set_to_none=False)

    return run(tracked, loader(), cross_entropy(model), update=update)


@scenario
def references_to_earlier_gradients_stay_what_they_were():
    model = mlp()
    tracked = {"model": model, "optimizer": torch.optim.SGD(model.parameters(), lr=0.05)}
    kept = []

    def update(job, step):
        mine = [param.grad for param in model.parameters()]
        if kept:
            for param, old in zip(model.parameters(), kept[-1], strict=True):
                param.grad = param.grad + 0.5 * old
        kept.append(mine)
        tracked["optimizer"].step()
        tracked["optimizer"].zero_grad()

    return run(tracked, loader(), cross_entropy(model), update=update)


@scenario
def grad_scaler():
    model = mlp()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    job = pliant.join(model=model, optimizer=optimizer, scaler=scaler, on_nonfinite="continue")
    losses = []
    for step in job.steps(loader(), epochs=2):
        for x, y in step:
            loss = F.cross_entropy(model(x), y)
            if step.number == 4 and bool((y == 0).any()):
                loss = loss * float("inf")  # in some shards only: everybody skips
            step.backward(loss, scaler=scaler)
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        losses.append(step.loss.hex())
    job.close()
    assert scaler.get_scale() != 2.0**10
    return digest(model=model, optimizer=optimizer, scaler=scaler), losses


@scenario
def nonfinite_losses_are_skipped_by_all():
    model = mlp(nn.BatchNorm1d(16))
    optimizer = adamw(model)
    job = pliant.join(model=model, optimizer=optimizer, on_nonfinite="skip")
    losses = []
    for step in job.steps(loader(), epochs=1):
        for x, y in step:
            loss = F.cross_entropy(model(x), y)
            step.backward(loss * float("nan") if step.number == 2 and bool((y == 0).any()) else loss)
        if step.number == 2:
            assert all(param.grad is None for param in model.parameters())
        optimizer.step()
        optimizer.zero_grad()
        losses.append(step.loss.hex())
    job.close()
    assert losses[2] == "nan"
    return digest(model=model, optimizer=optimizer), losses


@scenario
def exponential_moving_average():
    model = mlp(nn.BatchNorm1d(16))
    ema = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9), use_buffers=True
    )
    for param in ema.parameters():
        param.requires_grad_(False)
    tracked = {"model": model, "optimizer": adamw(model), "ema": ema}

    def update(job, step):
        tracked["optimizer"].step()
        tracked["optimizer"].zero_grad()
        ema.update_parameters(model)

    return run(tracked, loader(), cross_entropy(model), update=update)


@scenario
def a_part_of_the_model_tracked_once_more():
    model = mlp(nn.BatchNorm1d(16))
    tracked = {"model": model, "norm": model[2], "optimizer": adamw(model)}
    found = run(tracked, loader(), cross_entropy(model))
    assert float(model[2].running_mean.abs().sum()) > 0
    return found


@scenario
def buffers_shared_by_two_modules():
    model = mlp(nn.BatchNorm1d(16), nn.BatchNorm1d(16))
    model[3].running_mean, model[3].running_var = model[2].running_mean, model[2].running_var
    found = run({"model": model, "optimizer": adamw(model)}, loader(), cross_entropy(model))
    assert float(model[2].running_mean.abs().sum()) > 0
    return found


@scenario
def a_model_without_trainable_parameters_of_its_own():
    model = mlp()
    frozen = copy.deepcopy(model).requires_grad_(False)

    def loss_of(batch):
        return F.mse_loss(model(batch[0]), frozen(batch[0]) * 2)

    return run({"model": model, "teacher": frozen, "optimizer": adamw(model)}, loader(), loss_of)


@scenario
def empty_and_scalar_parameters():
    model = mlp()
    model.register_parameter("gain", nn.Parameter(torch.ones(())))
    model.register_parameter("empty", nn.Parameter(torch.ones(0, 3)))

    def loss_of(batch):
        return F.cross_entropy(model(batch[0]) * model.gain, batch[1]) + model.empty.sum()

    return run({"model": model, "optimizer": adamw(model)}, loader(), loss_of)
