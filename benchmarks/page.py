"""What every results page needs: the machine, rows of tables, the files. Imports no torch."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

import msgspec


class Machine(msgspec.Struct, frozen=True):
    """Where it was measured."""

    processor: str
    cores: int
    system: str
    python: str
    torch: str


def this_machine() -> Machine:
    """What matters of it; no names."""
    processor = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        processor = models[0] if models else processor
    cores = len(os.sched_getaffinity(0))
    return Machine(processor, cores, platform.system(), platform.python_version(), metadata.version("torch"))


def row(*cells: object) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def machine_text(machine: Machine) -> str:
    """The machine, and how numbers are given, for the top of a page."""
    return (
        f"{machine.processor}, {machine.cores} cores, {machine.system}; Python {machine.python}, torch "
        f"{machine.torch}. Medians, quartiles in brackets."
    )


def write_json(results: msgspec.Struct, path: Path) -> None:
    """For programs. Makes the directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=2) + b"\n")


def write_both(results: msgspec.Struct, text: str, stem: Path) -> Path:
    """``STEM.json`` for programs and ``STEM.md`` for readers; returns the latter."""
    write_json(results, stem.with_name(f"{stem.name}.json"))
    page = stem.with_name(f"{stem.name}.md")
    page.write_text(text, encoding="utf-8")
    return page
