"""Jobs of the script `train.py`, three workers or so, slow enough that a test can say where a fault hits."""

from collections.abc import Callable
from pathlib import Path

import pytest
from elastic_books import Trace
from elastic_fixtures import lab, own_lab, undisturbed
from elastic_lab import BookedJob, BookLab
from fault_checks import STEPS

__all__ = ["lab", "own_lab", "undisturbed"]


@pytest.fixture
def reference(undisturbed: Callable[..., Trace]) -> Trace:
    return undisturbed("train.py", "--steps", STEPS)


@pytest.fixture
def start(lab: BookLab, start_in: Callable[..., BookedJob]) -> Callable[..., BookedJob]:
    return lambda count, **options: start_in(lab, count, **options)


@pytest.fixture
def start_in(tmp_path: Path) -> Callable[..., BookedJob]:
    def begin(lab: BookLab, count: int, *, low: int = 1, high: int = 4, eats: int = 0, **options: object) -> BookedJob:
        words = ["--steps", STEPS, "--delay", 0.02, "--eats", eats]
        job = lab.run(tmp_path, "train.py", *words, workers=f"{low}:{high}", start=count, **options)
        job.wait_workers(count)
        return job

    return begin
