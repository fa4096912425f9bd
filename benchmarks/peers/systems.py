"""All systems, which of them can run here, and how far each script is from the plain one."""

from __future__ import annotations

from difflib import SequenceMatcher
from pathlib import Path

from benchmarks import installed
from benchmarks.peers import system_ddp, system_pliant, system_ray, system_torchft, system_torchrun
from benchmarks.peers.base import HERE, System

SYSTEMS: tuple[System, ...] = (
    *system_ddp.SYSTEMS,
    *system_torchrun.SYSTEMS,
    *system_torchft.SYSTEMS,
    *system_ray.SYSTEMS,
    *system_pliant.SYSTEMS,
)
USUAL = ("ddp", "torchrun", "torchft", "torchft-readme", "ray", "pliant")
"""The defaults of torchrun and Ray take minutes for each change; ``--only`` names them."""
IMPORTS = {
    "torchrun": "torch.distributed.run",
    "torchft": "torchft, torchdata.stateful_dataloader",
    "ray": "ray.train.torch",
}


def why_not(system: System) -> str:
    """Why this system cannot run here; "" if it can be imported."""
    return installed.why_not(system.packages, IMPORTS.get(system.name.partition("-")[0], ""))


def lines_changed(script: str) -> int:
    """Lines added, changed or removed against train_plain.py; what is there for measuring does not count."""
    plain, other = (_code_lines(HERE / name) for name in ("train_plain.py", script))
    opcodes = SequenceMatcher(None, plain, other, autojunk=False).get_opcodes()
    return sum(max(i2 - i1, j2 - j1) for tag, i1, i2, j1, j2 in opcodes if tag != "equal")


def _code_lines(path: Path) -> list[str]:
    """Without the docstring, blank lines, comments and the lines that keep the book."""
    _, _, code = path.read_text(encoding="utf-8").split('"""', 2)
    lines = [line for line in code.splitlines() if line.strip() and not line.strip().startswith("#")]
    return [
        line for line in lines if "book" not in line.lower().replace("args.books", "") and "# measuring" not in line
    ]
