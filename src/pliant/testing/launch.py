"""From the arguments of ``Lab.run`` to the command line of ``pliant run``."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Launch:
    """A ``pliant run`` to be started, and where its files go."""

    script: Path
    arguments: tuple[str, ...]
    directory: Path
    """Takes the output, the report and the plan file; made if it is not there."""
    options: Mapping[str, object] = field(default_factory=dict)
    """Of ``pliant run``: ``patience=2`` for ``--patience 2``, ``plan=[{"at_step": 5, "kill": 1}]`` or a path."""
    name: str = field(default_factory=lambda: f"job-{uuid.uuid4().hex[:8]}")

    def file(self, kind: str) -> Path:
        """One of its files."""
        return self.directory / f"{self.name}.{kind}"

    def words(self) -> list[str]:
        """The command line behind ``pliant``; writes the plan file if there is a plan."""
        self.directory.mkdir(parents=True, exist_ok=True)
        words = ["run", "--name", self.name, "--no-live", "--no-page", "--report", str(self.file("json"))]
        for option, value in self.options.items():
            flag = f"--{option.replace('_', '-')}"
            words += [flag] if value is True else [flag, self._text(option, value)]
        return [*words, str(self.script), *self.arguments]

    def _text(self, option: str, value: object) -> str:
        if option != "plan" or not isinstance(value, Sequence) or isinstance(value, str):
            return str(value)
        path = self.file("toml")
        path.write_text(plan_text(value))
        return str(path)


def pliant(*words: object) -> list[str]:
    """The command ``pliant`` of this Python. -P: the current directory may hold files named like modules."""
    return [sys.executable, "-P", "-m", "pliant.cli.main", *(str(word) for word in words)]


def plan_text(plan: Sequence[Mapping[str, object]]) -> str:
    """A plan file: one table for each event."""
    return "".join(
        "[[event]]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in event.items()) for event in plan
    )


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + "}"
    return str(value).lower() if isinstance(value, bool) else str(value)
