"""Several systems alive at once that train in turns, the order alternating; see benchmarks/turns.py. No torch."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.launch import end, finish, pliant_home
from benchmarks.steps import DROPPED, Processes, wait_turn
from benchmarks.turns import Gate

GATE = "turn"


@dataclass(frozen=True)
class Entry:
    """One system. ``start`` is given an environment, and a directory for its turnstile and its ``log``."""

    name: str
    start: Callable[[Mapping[str, str], Path], Processes]


def contest(
    entries: Sequence[Entry],
    *,
    rounds: int,
    look: Callable[[Mapping[str, str]], None] | None = None,
    ended: Callable[[Path], None] | None = None,
) -> dict[str, list[list[float]]]:
    """Rounds of one turn each.

    Args:
        entries: started one after the other, each trained through its warm-up before the next one is started.
        rounds: in every other one the order is reversed.
        look: called after the last turn, while all stand still, with the environment they were started in.
        ended: called after all have ended, with the directory that holds theirs.

    Returns:
        By system and round, the seconds of the steps.

    Raises:
        RuntimeError: A process failed or a turn took longer than five minutes. The ends of all logs are printed, and
            nothing is left running.
    """
    with tempfile.TemporaryDirectory(prefix="pliant-contest-") as name, pliant_home() as env:
        gates: dict[str, Gate] = {}
        processes: Processes = []
        try:
            for entry in entries:
                begun_s = time.monotonic()
                directory = Path(name, entry.name)
                directory.mkdir()
                gates[entry.name] = Gate(directory, GATE)
                processes += entry.start(env, directory)
                wait_turn(gates[entry.name], processes)
                print(f"    {entry.name} has warmed up in {time.monotonic() - begun_s:.0f} s", flush=True)
            times_s = _rounds(gates, processes, rounds)
            if look is not None:
                look(env)
            for gate in gates.values():
                gate.open()
            finish(processes)
            if ended is not None:
                ended(Path(name))
        except BaseException:
            for log in Path(name).glob("*/log"):
                print(f"--- {log.parent.name}\n{log.read_text(errors='replace')[-3000:]}", flush=True)
            raise
        finally:
            end(processes)
            for gate in gates.values():
                gate.close()
    return times_s


def _rounds(gates: Mapping[str, Gate], processes: Processes, rounds: int) -> dict[str, list[list[float]]]:
    times_s: dict[str, list[list[float]]] = {system: [] for system in gates}
    for number in range(rounds):
        for system in list(gates) if number % 2 == 0 else reversed(list(gates)):
            gates[system].open()
            times_s[system].append(wait_turn(gates[system], processes)[DROPPED:])
    return times_s
