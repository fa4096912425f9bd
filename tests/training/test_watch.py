"""What a script keeps beside its tracked objects: changes are named, loop variables are not."""

import itertools
import random
import runpy

import numpy as np
import pytest
import torch
from torch import nn

from pliant.training.watch import Watch


class Holder(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(2, 2)
        self.size = 1.0
        self.history = []
        self.rng = np.random.default_rng(0)
        self.register_buffer("kept", torch.zeros(2))


@pytest.fixture
def model():
    return Holder()


@pytest.fixture
def watch(model):
    watch = Watch({"model": model})
    watch.look()
    return watch


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda m: setattr(m, "size", 0.9), "model.size"),
        (lambda m: m.history.append(3), "model.history"),
        (lambda m: m.rng.random(), "model.rng (random generator)"),
        (lambda m: setattr(m.inner, "in_features", 3), "model.inner.in_features"),
    ],
)
def test_plain_attributes_of_modules(model, watch, change, name):
    assert watch.look() == []
    change(model)
    assert watch.look() == [name]
    assert watch.look() == [], "told once"


def test_what_is_tracked_or_harmless_does_not_count(model, watch):
    model.kept.add_(1)
    model.inner.weight.data.add_(1)
    model.eval()
    model.new = 5
    assert watch.look() == []


class Data:
    def __init__(self):
        self.torch = torch.Generator().manual_seed(0)
        self.python = random.Random(0)
        self.old = np.random.RandomState(0)
        self.numbers = itertools.count()
        self.count = np.zeros(3)
        self.marks = {"a": 1}
        self.total = torch.zeros(())
        self.big = torch.zeros(5000)


def test_attributes_of_a_dataset(watch):
    data = Data()
    watch.add("dataset", data)
    watch.look()
    torch.rand(1, generator=data.torch)
    data.python.random()
    data.old.rand()
    next(data.numbers)
    data.count += 1
    data.marks["a"] = 2
    data.total += 1
    data.big += 1
    assert watch.look() == [
        "dataset.count",
        "dataset.marks",
        "dataset.numbers",
        "dataset.old (random generator)",
        "dataset.python (random generator)",
        "dataset.torch (random generator)",
        "dataset.total",
    ]


SCRIPT = """
import torch
from pliant.training.watch import Watch

calls = 0
kept = torch.zeros(1)
seen = []

def main():
    own = torch.Generator()
    watch = Watch({})
    watch.look()
    global calls
    for x in torch.ones(3, 1):
        calls += 1
        kept.add_(1)
        torch.rand(1, generator=own)
        seen.append(watch.look())

main()
"""


def test_globals_of_the_script_and_objects_in_its_functions(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    seen = runpy.run_path(str(path), run_name="__main__")["seen"]
    assert seen[0] == ["calls", "kept", "main: own (random generator)"]
    # The list that this script keeps its findings in changes as well.
    assert seen[1:] == [["calls", "kept", "main: own (random generator)", "seen"]] * 2
