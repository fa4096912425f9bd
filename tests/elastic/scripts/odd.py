"""Two optimizers, two passes a step; gradients looked at, changed, kept over steps; weights swapped and put back."""

import copy

import torch
from book import Book, options
from torch import nn

import pliant


def main():
    given = options(steps=20)
    book = Book(given.out)
    torch.manual_seed(0)
    maker = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4))
    judge = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 1))
    making = torch.optim.Adam(maker.parameters(), lr=1e-3, amsgrad=True)
    judging = torch.optim.RMSprop(judge.parameters(), lr=1e-3, momentum=0.5)
    schedule = torch.optim.lr_scheduler.OneCycleLR(making, 0.01, total_steps=60)
    x = torch.randn(512, 8, generator=torch.Generator().manual_seed(1))
    job = pliant.join(maker=maker, judge=judge, making=making, judging=judging, schedule=schedule)
    loader = pliant.Loader(torch.utils.data.TensorDataset(x), batch_size=32, shards=4, seed=1)
    for step in job.steps(loader, steps=given.steps):
        judging.zero_grad(set_to_none=step.number % 2 == 0)
        for (batch,) in step:
            real, made = judge(batch[:, :4]), judge(maker(batch).detach())
            step.backward(made.square().mean() + 0.1 * real.abs().mean())
        if step.number % 3 == 0:
            book.write("norm", step.number, float(torch.stack([p.grad.norm() for p in judge.parameters()]).norm()))
        for param in judge.parameters():
            param.grad.clamp_(-0.05, 0.05)
        judging.step()
        if step.number % 4 == 0:
            making.zero_grad()
        for param in judge.parameters():
            param.grad = None
        for (batch,) in step:
            step.backward((1 - judge(maker(batch))).mean())
        if step.number % 4 == 3:  # gradients of four steps
            nn.utils.clip_grad_norm_(maker.parameters(), 0.5)
            making.step()
            schedule.step()
        kept = copy.deepcopy(maker.state_dict())
        with torch.no_grad():
            for param in maker.parameters():
                param.mul_(0.5)
        maker.load_state_dict(kept)
        if job.session.crew.stateful:
            book.digest(job, step, maker, judge, making, judging, schedule)
    book.write("end", "weights", job.weights_sha256())


if __name__ == "__main__":
    main()
