"""The plants of verify_scripts/script.py on crews without a coordinator: one template for all, milliseconds each.

Every function is one plant, run by each worker of a crew; see tests/training/static_crew.py. Their traces are
those that ``pliant verify`` compares.
"""

import os
import runpy
import sys
from pathlib import Path

import torch

from pliant.training import crew as crew_module
from pliant.wire.messages import JobRules

SCRIPT = Path(__file__).parent / "verify_scripts" / "script.py"
DIRECTORY = "VERIFY_CREW_TRACES"
STEPS = 4


def run(plant):
    crew = crew_module.ambient_crew()
    size = crew.group().size
    where = Path(os.environ[DIRECTORY]) / plant.replace(" ", "-") / str(size)
    again = where.with_name(f"{size}-again")
    crew.rules = JobRules(check_every=0, trace=str(again if size == 1 and where.exists() else where))
    crew.workers = [f"w{rank + 1}" for rank in range(size)]
    torch.seed()  # each run is to look like a fresh process
    sys.argv = [str(SCRIPT), "--plant", plant, "--steps", str(STEPS)]
    runpy.run_path(str(SCRIPT), run_name="__main__")
    return plant


def nothing():
    return run("")


def unseeded():
    return run("unseeded")


def own_generator():
    return run("own generator")


def counter():
    return run("counter")


def rough_kernel():
    return run("rough kernel")


def stream():
    return run("stream")


def threads():
    return run("threads")
