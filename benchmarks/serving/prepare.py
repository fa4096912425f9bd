"""Prints, for each model, a request's body and what has to be answered: ``python -m benchmarks.serving.prepare``."""

from __future__ import annotations

import random

import msgspec
import torch

from benchmarks.serving.models import CHARACTERS, as_tensor, build
from benchmarks.serving.shapes import ROWS


def body_of(name: str) -> list[object]:
    """One row, the same on every call."""
    numbers, row = random.Random(name), ROWS[name]
    draw = (lambda: numbers.randrange(CHARACTERS)) if row.dtype == "int64" else (lambda: round(numbers.random(), 4))

    def nested(shape: tuple[int, ...]) -> object:
        return [nested(shape[1:]) for _ in range(shape[0])] if shape else draw()

    return [nested(row.shape)]


def main() -> None:
    """All models."""
    torch.set_num_threads(1)
    found = {}
    for name in ROWS:
        rows = body_of(name)
        with torch.inference_mode():
            found[name] = (msgspec.json.encode(rows).decode(), build(name)(as_tensor(name, rows)).tolist())
    print(msgspec.json.encode(found).decode())


if __name__ == "__main__":
    main()
