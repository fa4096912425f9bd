"""What the tests read out of the project's Markdown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"(?P<mark><!-- runnable -->\n+)?^```python(?P<info>[^\n]*)\n(?P<code>.*?)^```$", re.M | re.S)
LINK = re.compile(r"\]\((?!https?:|mailto:|#)(?P<target>[^)#\s]+)")


@dataclass(frozen=True)
class Block:
    """A fenced Python block. Runnable: ``<!-- runnable -->`` above the fence, or ``runnable`` after ``python``."""

    where: str
    code: str
    runnable: bool


def documents() -> list[Path]:
    """README, CONTRIBUTING and everything under docs that exists."""
    top = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")]
    return [path for path in top if path.exists()] + sorted((ROOT / "docs").rglob("*.md"))


def blocks_of(text: str, name: str) -> list[Block]:
    """All Python blocks of a document."""
    found = []
    for match in FENCE.finditer(text):
        line = text[: match.start("code")].count("\n")
        runnable = bool(match["mark"]) or "runnable" in match["info"].split()
        found.append(Block(f"{name}:{line}", match["code"], runnable))
    return found


def all_blocks() -> list[Block]:
    """Those of every document."""
    return [
        block
        for path in documents()
        for block in blocks_of(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT)))
    ]


def table_paths(text: str) -> list[str]:
    """Paths of files in code spans of table rows: ``src/...``, ``tests/...`` and the like."""
    rows = [line for line in text.splitlines() if line.lstrip().startswith("|")]
    spans = [span for row in rows for span in re.findall(r"`([^`]+)`", row)]
    return [span.split("::")[0] for span in spans if re.fullmatch(r"[\w./-]+/[\w.-]*(::\w+)?", span)]


def named_tests(text: str) -> list[tuple[str, str]]:
    """Tests in code spans, as (file, function): ``test_file.py::test_function``, with or without folders in front."""
    return re.findall(r"`(?:[\w/]+/)?(test_\w+\.py)::(\w+)`", text)
