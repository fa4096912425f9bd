"""Writes the comparison: ``DATE-serving.md`` for readers, ``DATE-serving.json`` for programs."""

from __future__ import annotations

from pathlib import Path

import msgspec

from benchmarks.page import Machine, machine_text, row, write_both
from benchmarks.serving import aims, tables
from benchmarks.serving.accounts import BurstRun, KillRun, MemoryRun, Turn

HOW = (
    "One client for all systems: a process of its own with an epoll over raw sockets and requests whose bytes are "
    "made once; JSON in, JSON out, one row a request, HTTP/1.1 kept alive, a closed loop (a connection sends again as "
    "soon as it has its answer). A request without an answer in time is counted as hung, and its connection given up. "
    "Client and server share the machine's cores. Before it is measured, each server's answer is compared with the "
    "model's own. All systems build the same model from the same seed, on CPU with one intra-op thread; where nothing "
    "else is said they have one replica. Systems take turns within a round, every other round in the opposite order. "
    "Processor time is that of all processes that descend from the server's command, from /proc, with children that "
    "have ended; PSS is a process's private pages and its share of the others, as the kernel counts it. Which process "
    "answered is part of the answer where that matters."
)


class ServingResults(msgspec.Struct):
    """One run of the comparison; ``missing``: systems that could not run, and why."""

    date: str
    quick: bool
    machine: Machine
    versions: dict[str, dict[str, str]] = {}
    settings: dict[str, dict[str, str]] = {}
    lacks: dict[str, dict[str, str]] = {}
    missing: dict[str, str] = {}
    notes: list[str] = []
    """What has to be known to read this run, such as what else ran on the machine."""
    client: list[Turn] = []
    turns: list[Turn] = []
    bursts: list[BurstRun] = []
    kills: list[KillRun] = []
    memory: list[MemoryRun] = []
    took_s: float = 0.0


def markdown(results: ServingResults) -> str:
    """The whole page."""
    parts = [
        f"# Serving, beside its peers, {results.date}" + (" (a short look: one round)" if results.quick else ""),
        f"{machine_text(results.machine)} The run took {results.took_s / 60:.0f} minutes."
        + "".join(f" {note}" for note in results.notes),
    ]
    if results.missing:
        parts += ["## Could not run", "\n".join(f"* {name}: {why}" for name, why in results.missing.items())]
    parts += ["## Aims", aims.table(results.turns, results.bursts, results.kills, results.memory)]
    if results.turns:
        parts += ["## Throughput", *tables.throughput(results.turns)]
        parts += ["## Processor time of a request", *tables.cpu(results.turns)]
        parts += ["## Where Pliant is behind, in throughput, p99 or processor time", aims.behind(results.turns)]
        parts += ["## Requests without a good answer", tables.failures(results.turns)]
    if results.bursts:
        parts += ["## From an idle service, and from none", *tables.bursts(results.bursts)]
    if results.kills:
        parts += ["## SIGKILL of one of two replicas under load", *tables.kills(results.kills)]
    if results.memory:
        parts += ["## Memory", *tables.memory(results.memory)]
    parts += ["## How it was measured", HOW]
    if results.client:
        parts.append(tables.client(results.client, results.turns))
    parts += ["## Versions and settings", settings(results)]
    return "\n\n".join(parts) + "\n"


def settings(results: ServingResults) -> str:
    """What was installed and how it was configured."""
    lines = [row("system", "versions", "settings", "not measured"), row(*["---"] * 4)]
    for name, found in results.settings.items():
        packages = ", ".join(f"{package} {version}" for package, version in results.versions[name].items())
        chosen = "; ".join(f"{key}: {value}" for key, value in found.items())
        lacks = "; ".join(f"{what}: {why}" for what, why in results.lacks.get(name, {}).items())
        lines.append(row(name, packages, chosen, lacks))
    return "\n".join(lines)


def write(results: ServingResults, directory: Path) -> Path:
    """Both files; returns the readable one."""
    stem = f"{results.date}-serving" + ("-quick" if results.quick else "")
    return write_both(results, markdown(results), directory / stem)
