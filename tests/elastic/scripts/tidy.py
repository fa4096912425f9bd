"""What a step leaves behind is gone with it, and does not wait for Python to look for cycles."""

import gc

import torch
from book import Book, options

import pliant


class Sample(torch.utils.data.Dataset):
    def __len__(self):
        return 64

    def __getitem__(self, index):
        draw = torch.Generator().manual_seed(index)
        return torch.randn(8, generator=draw), torch.tensor(index % 2)


def main():
    given = options(steps=16, clip=0.0)
    book = Book(given.out)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    job = pliant.join(model=model, optimizer=optimizer)
    loader = pliant.Loader(Sample(), batch_size=16, shards=4, seed=3)
    gc.collect()
    gc.disable()
    for step in job.steps(loader, steps=given.steps):
        for samples, kinds in step:
            step.backward(torch.nn.functional.cross_entropy(model(samples), kinds))
        if given.clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), given.clip)
        optimizer.step()
        optimizer.zero_grad()
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        gc.set_debug(0)
        found = [tuple(item.shape) for item in gc.garbage if isinstance(item, torch.Tensor)]
        gc.garbage.clear()
        book.write("note", "garbage", [step.number, found])


if __name__ == "__main__":
    main()
