"""A batch's digest: everything in it counts, and nothing else."""

import random
from collections import namedtuple
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pliant.training.crew import SoloCrew
from pliant.training.trace import Recorder, batch_digest, streams_digest

Pair = namedtuple("Pair", "x y")


@dataclass
class Sample:
    x: torch.Tensor
    name: str


def batches():
    """Pairs of a batch made anew, and one that differs a little."""
    return [
        (lambda: torch.arange(6.0), lambda: torch.arange(6.0) + 1e-6),
        (lambda: [torch.ones(2), 1], lambda: [torch.ones(2), 2]),
        (lambda: {"x": np.arange(3)}, lambda: {"x": np.arange(3)[::-1]}),
        (lambda: {"x": 1}, lambda: {"y": 1}),
        (lambda: Pair(torch.ones(1), "a"), lambda: Pair(torch.ones(1), "b")),
        (lambda: Sample(torch.ones(1), "a"), lambda: Sample(torch.zeros(1), "a")),
        (lambda: [[1, 2], [3]], lambda: [[1], [2, 3]]),
        (lambda: (None, np.float32(1)), lambda: (None, np.float32(2))),
        (lambda: b"raw", lambda: b"war"),
    ]


@pytest.mark.parametrize(("make", "other"), batches())
def test_batches(make, other):
    assert batch_digest(make()) == batch_digest(make())
    assert batch_digest(make()) != batch_digest(other())


def test_an_object_whose_inside_cannot_be_seen_is_no_difference():
    assert batch_digest([object()]) == batch_digest([object()])


@pytest.mark.parametrize("draw", [lambda: torch.rand(1), random.random, lambda: np.random.rand(1)])
def test_each_global_stream_counts(draw):
    before = streams_digest()
    assert streams_digest() == before
    draw()
    assert streams_digest() != before


def test_lines_are_in_the_file_at_once(tmp_path):
    recorder = Recorder(str(tmp_path / "new"), SoloCrew(), {"model": torch.nn.Linear(1, 1)})
    recorder.before_step(0)
    recorder.shard_begins(torch.ones(1))
    recorder.shard_ends(step=0, pass_number=0, shard=0, loss=0.5, stream=False)
    recorder.mean(step=0, pass_number=0)
    recorder.before_step(1)
    kinds = [line.split('"')[3] for line in (tmp_path / "new" / "trace-w1.jsonl").read_text().splitlines()]
    assert kinds == ["TraceEntered", "TraceNames", "TraceState", "TraceShard", "TraceMean", "TraceState"]
    recorder.close()


def test_a_worker_that_came_later_says_so(tmp_path):
    crew = SimpleNamespace(worker="w3", workers=["w1", "w3"], generation=4, founding=False)
    recorder = Recorder(str(tmp_path), crew, {})
    recorder.before_step(7)
    crew.generation = 5
    recorder.before_step(8)
    recorder.close()
    first, second = [line for line in (tmp_path / "trace-w3.jsonl").read_text().splitlines() if "Entered" in line]
    assert '"newcomer":true' in first
    assert '"newcomer":false' in second
