"""What was measured, a file for each part (``DATE-servers-PART.json``), and the page that is made of all of them.

Parts can be measured at different times: the page takes the newest file of each, and says from when it is.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.page import Machine, machine_text, row, write_json
from benchmarks.servers import aims, crossover, shown
from benchmarks.servers.accounts import DenseResult, ServerChange, TableResult
from benchmarks.servers.straggler_accounts import StragglerRun, stragglers_table

PARTS = ("dense", "tables", "recovery", "async")


class PartResults(msgspec.Struct):
    """One run of one part; lists of other parts are empty. ``problems``: what could not be measured, and why."""

    part: str
    measured: str
    """When it began: ``2026-11-26 05:40``, UTC."""
    quick: bool
    machine: Machine
    notes: list[str] = []
    """What has to be known to read this part, such as what else ran on the machine."""
    dense: list[DenseResult] = []
    changes: list[ServerChange] = []
    tables: list[TableResult] = []
    stragglers: list[StragglerRun] = []
    problems: dict[str, str] = {}
    took_s: float = 0.0

    @property
    def empty(self) -> bool:
        """Whether nothing was measured."""
        return not (self.dense or self.changes or self.tables or self.stragglers)

    @property
    def stem(self) -> str:
        """Of the page's file if this is the newest part."""
        return f"{self.measured.split()[0]}-servers" + ("-quick" if self.quick else "")


def write_part(part: PartResults, directory: Path) -> None:
    """In place of what was measured on the same day, unless nothing is what there is."""
    path = directory / f"{part.stem}-{part.part}.json"
    if not part.empty or (part.problems and not path.exists()):
        write_json(part, path)


def read_parts(directory: Path, *, quick: bool) -> list[PartResults]:
    """The newest of each part, in their usual order; what cannot be read any more is left out, and told."""
    found = []
    for part in PARTS:
        name = re.compile(rf"\d{{4}}-\d\d-\d\d-servers{'-quick' if quick else ''}-{part}\.json")
        paths = [path for path in sorted(directory.iterdir()) if name.fullmatch(path.name)]
        try:
            found += [msgspec.json.decode(path.read_bytes(), type=PartResults) for path in paths[-1:]]
        except msgspec.MsgspecError as error:
            hint = f"measure it again with --parts {part}, or remove the file"
            print(f"{paths[-1]} is left out, as it cannot be read: {error}. {hint}", file=sys.stderr, flush=True)
    return found


def write_page(directory: Path, *, quick: bool) -> Path | None:
    """Make the page from all parts that are there; None without any."""
    parts = read_parts(directory, quick=quick) if directory.exists() else []
    if not parts:
        return None
    page = directory / f"{max(part.stem for part in parts)}.md"
    page.write_text(markdown(parts), encoding="utf-8")
    return page


def markdown(parts: Sequence[PartResults]) -> str:
    """The whole page, of at least one part."""
    dense = [result for part in parts for result in part.dense]
    changes = [change for part in parts for change in part.changes]
    tables = [result for part in parts for result in part.tables]
    runs = [run for part in parts for run in part.stragglers]
    verdicts = (aims.of_strategies(dense), aims.of_changes(changes), aims.of_tables(tables), aims.of_stragglers(runs))
    found = [*_opening(parts), "## Aims", aims.table(*verdicts)]
    if dense:
        found += _dense(dense)
    if tables:
        found += ["## Tables", shown.tables_table(tables)]
    if changes:
        found += ["## Servers die and come", shown.changes_table(changes)]
    if runs:
        found += ["## One of three workers becomes 5 times slower", stragglers_table(runs), shown.SLOW]
    how = [shown.HOW, *(shown.HOW_PARTS[part.part] for part in parts)]
    return "\n\n".join([*found, "## How it was measured", *how]) + "\n"


def _opening(parts: Sequence[PartResults]) -> list[str]:
    newest = max(parts, key=lambda part: part.measured)
    machines = {part.machine for part in parts}
    lines = [row("part", "measured (UTC)", "minutes", "beside it"), row(*["---"] * 4)]
    for part in parts:
        other = [] if len(machines) == 1 else [machine_text(part.machine)]
        lines.append(row(part.part, part.measured, f"{part.took_s / 60:.0f}", " ".join([*part.notes, *other])))
    found = [
        f"# Parameter servers, {newest.measured.split()[0]}" + (" (a short look: few rounds)" if newest.quick else ""),
        machine_text(newest.machine),
        "\n".join(lines),
    ]
    problems = [f"* {part.part}: {name}: {why}" for part in parts for name, why in part.problems.items()]
    return [*found, "## Could not be measured", "\n".join(problems)] if problems else found


def _dense(dense: Sequence[DenseResult]) -> list[str]:
    strategies = [result for result in dense if result.group == "strategies"]
    crowds = [result for result in dense if result.group == "workers"]
    found = []
    if strategies:
        found += ["## Steps, against all-reduce", shown.steps_table(strategies)]
        found += ["## Memory of a process (MB)", shown.memory_table(strategies), shown.MEMORY]
    if crossover.points(dense):
        found += ["## With how much computing is a step as fast?", crossover.by_computing(dense)]
        found += [crossover.computing_table(dense)]
    if crowds:
        found += ["## With how many workers?", crossover.by_workers(dense), shown.steps_table(crowds)]
    return [*found, "## Where a parameter server is slower than all-reduce", aims.behind(dense), shown.WHY]
