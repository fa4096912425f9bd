"""Shapes of a training script that must give the same bits on every crew."""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F  # noqa: N812
from loops import Points, digest, loader, mlp
from scenarios_data import Noisy, stream
from static_crew import scenario
from torch import nn

import pliant
from pliant.errors import NonFiniteLossError


def trainer(*middle):
    model = mlp(*middle)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    return model, optimizer


def one_step(step, model, optimizer):
    for x, y in step:
        step.backward(F.cross_entropy(model(x), y))
    optimizer.step()
    optimizer.zero_grad()


@scenario
def sharpness_aware_minimisation():
    model, optimizer = trainer(nn.Dropout(0.2), nn.BatchNorm1d(16))
    job = pliant.join(model=model, optimizer=optimizer)
    seen = []
    for step in job.steps(loader(Points(96), batch_size=32), epochs=1):
        for x, y in step:
            step.backward(F.cross_entropy(model(x), y))
        norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
        moves = [p.grad * (0.05 / norm) for p in model.parameters()]
        with torch.no_grad():
            for param, move in zip(model.parameters(), moves, strict=True):
                param.add_(move)
        optimizer.zero_grad()
        for x, y in step:
            step.backward(F.cross_entropy(model(x), y))
        with torch.no_grad():
            for param, move in zip(model.parameters(), moves, strict=True):
                param.sub_(move)
        optimizer.step()
        optimizer.zero_grad()
        seen.append([loss.hex() for loss in step.losses])
    job.close()
    assert all(len(losses) == 2 for losses in seen)
    return digest(model=model, optimizer=optimizer), seen, job.session.position.samples


@scenario
def adversarial_pair_with_two_optimizers():
    torch.manual_seed(5)
    maker = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 6))
    judge = nn.Sequential(nn.Linear(6, 16), nn.LeakyReLU(0.2), nn.Dropout(0.3), nn.Linear(16, 1))
    of_maker = torch.optim.Adam(maker.parameters(), lr=0.01)
    of_judge = torch.optim.Adam(judge.parameters(), lr=0.01)
    job = pliant.join(maker=maker, judge=judge, of_maker=of_maker, of_judge=of_judge)
    seen = []
    for step in job.steps(loader(Points(96), batch_size=32), epochs=1):
        for x, _ in step:
            fake = maker(torch.randn(len(x), 4)).detach()
            verdict = torch.cat([judge(x), judge(fake)])
            truth = torch.cat([torch.ones(len(x), 1), torch.zeros(len(x), 1)])
            step.backward(F.binary_cross_entropy_with_logits(verdict, truth))
        of_judge.step()
        of_judge.zero_grad()
        for x, _ in step:
            verdict = judge(maker(torch.randn(len(x), 4)))
            step.backward(F.binary_cross_entropy_with_logits(verdict, torch.ones(len(x), 1)))
        of_maker.step()
        of_maker.zero_grad()
        of_judge.zero_grad()
        seen.append([loss.hex() for loss in step.losses])
    job.close()
    return digest(maker=maker, judge=judge, of_maker=of_maker, of_judge=of_judge), seen


@scenario
def a_call_of_steps_for_each_epoch_with_evaluation_between():
    model, optimizer = trainer(nn.Dropout(0.2), nn.BatchNorm1d(16))
    job = pliant.join(model=model, optimizer=optimizer)
    train, held_out = loader(Noisy(48)), loader(Points(27), batch_size=8, shards=4)
    seen = []

    def metrics(batch):
        x, y = batch
        noise = torch.randn(()) * random.random()
        return {"loss": F.cross_entropy(model(x), y) + noise, "right": (model(x).argmax(1) == y).float().mean()}

    for _ in range(3):
        for step in job.steps(train):
            one_step(step, model, optimizer)
            seen.append((step.number, step.epoch, step.loss.hex()))
        assert model.training
        found = job.evaluate(held_out, metrics)
        assert model.training
        seen.append({name: value.hex() for name, value in found.items()})
        seen.append((torch.rand(()).item(), random.random()))  # the streams after an evaluation
    job.close()
    assert [each[:2] for each in seen if isinstance(each, tuple) and len(each) == 3] == [(i, i // 3) for i in range(9)]
    return digest(model=model, optimizer=optimizer), seen


@scenario
def evaluating_on_the_training_loader_with_loader_processes():
    model, optimizer = trainer()
    job = pliant.join(model=model, optimizer=optimizer)
    seen = []
    for data in (loader(Noisy(40), num_workers=1), loader(stream, num_workers=2)):
        for _ in range(2):
            for step in job.steps(data, steps=2):
                one_step(step, model, optimizer)
                seen.append((step.epoch, step.loss.hex()))
            seen.append(job.evaluate(data, lambda batch: F.cross_entropy(model(batch[0]), batch[1])).hex())
    job.close()
    return digest(model=model, optimizer=optimizer), seen


@scenario
def leaving_early_when_the_loss_is_low():
    model, optimizer = trainer()
    job = pliant.join(model=model, optimizer=optimizer)
    seen = []
    data = loader()
    for step in job.steps(data, epochs=50):
        one_step(step, model, optimizer)
        seen.append(step.loss.hex())
        if step.number == 2:
            break
    assert job.step == 3
    seen.append(job.evaluate(data, lambda batch: F.cross_entropy(model(batch[0]), batch[1])).hex())
    for step in job.steps(data, steps=2):
        one_step(step, model, optimizer)
        seen.append((step.number, step.epoch, step.loss.hex()))
    job.close()
    assert [each[:2] for each in seen[-2:]] == [(3, 1), (4, 1)]
    return digest(model=model, optimizer=optimizer), seen


@scenario
def leaving_before_the_update():
    model, optimizer = trainer()
    job = pliant.join(model=model, optimizer=optimizer)
    data = loader()
    for step in job.steps(data, epochs=2):
        if step.number == 2:
            break
        one_step(step, model, optimizer)
    assert job.step == 2
    for step in job.steps(data, steps=1):
        one_step(step, model, optimizer)
    assert job.step == 3
    job.close()
    return digest(model=model, optimizer=optimizer)


@scenario
def loaders_made_anew_for_each_call():
    model, optimizer = trainer()
    job = pliant.join(model=model, optimizer=optimizer)
    seen = []
    for seed in range(3):
        for step in job.steps(loader(Points(32), seed=seed, shards=4 if seed == 1 else 8)):
            one_step(step, model, optimizer)
            seen.append((step.number, step.epoch, step.loss.hex()))
    job.close()
    return digest(model=model, optimizer=optimizer), seen


@scenario
def gradients_added_up_over_steps():
    model, optimizer = trainer()
    job = pliant.join(model=model, optimizer=optimizer)
    for step in job.steps(loader(), epochs=2):
        for x, y in step:
            step.backward(F.cross_entropy(model(x), y) / 2)
        if step.number % 2:
            optimizer.step()
            optimizer.zero_grad()
    job.close()
    return digest(model=model, optimizer=optimizer)


@scenario
def gradients_of_two_passes_added_up():
    model, optimizer = trainer(nn.Dropout(0.2))
    job = pliant.join(model=model, optimizer=optimizer)
    for step in job.steps(loader(), epochs=1):
        for _ in range(3):
            for x, y in step:
                step.backward(F.cross_entropy(model(x), y) / 3)
        assert len(step.losses) == 3
        optimizer.step()
        optimizer.zero_grad()
    job.close()
    return digest(model=model, optimizer=optimizer), job.session.position.samples


@scenario
def activation_checkpointing():
    from torch.utils.checkpoint import checkpoint  # noqa: PLC0415 - slow to import, used here only

    model, optimizer = trainer(nn.Dropout(0.2))
    job = pliant.join(model=model, optimizer=optimizer)
    for step in job.steps(loader(), epochs=1):
        for x, y in step:
            step.backward(F.cross_entropy(checkpoint(model, x, use_reentrant=False), y))
        optimizer.step()
        optimizer.zero_grad()
    job.close()
    return digest(model=model, optimizer=optimizer)


@scenario
def gradient_penalty_through_double_backward():
    model, optimizer = trainer()
    job = pliant.join(model=model, optimizer=optimizer)
    for step in job.steps(loader(), epochs=1):
        for x, y in step:
            x.requires_grad_()
            loss = F.cross_entropy(model(x), y)
            (slope,) = torch.autograd.grad(loss, x, create_graph=True)
            step.backward(loss + slope.square().sum())
        optimizer.step()
        optimizer.zero_grad()
    job.close()
    return digest(model=model, optimizer=optimizer)


@scenario
def a_nonfinite_loss_stops_everybody_alike():
    model, optimizer = trainer()
    job = pliant.join(model=model, optimizer=optimizer)
    said = ""
    try:
        for step in job.steps(loader(), epochs=2):
            for x, y in step:
                bad = step.number == 3 and bool((y == 0).any())
                step.backward(F.cross_entropy(model(x), y) * (float("inf") if bad else 1.0))
            optimizer.step()
            optimizer.zero_grad()
    except NonFiniteLossError as error:
        said = str(error)
    assert "step 3 is inf" in said
    job.close()
    return digest(model=model, optimizer=optimizer), said, job.step
