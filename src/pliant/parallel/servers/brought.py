"""What servers hold, brought to a worker: a few slots at a time, because tables may be larger than its memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pliant.parallel.servers.client import ServersClient
from pliant.parallel.servers.client_work import DumpWork
from pliant.parallel.servers.slot_state import SlotState
from pliant.parallel.tables.embedding import Embedding
from pliant.parallel.tables.snapshot import Snapshot
from pliant.transfer.spool import Spool
from pliant.wire.server_messages import SLOTS

_DUMP_BYTES = 32 << 20


@dataclass
class Brought:
    """The state of all slots after one update.

    Attributes:
        number: of the update.
        states: dense ones, by slot.
        tables: by name, without what has expired. They lie in files.
    """

    number: int
    states: dict[int, SlotState] = field(default_factory=dict)
    tables: dict[str, Snapshot] = field(default_factory=dict)


def bring(client: ServersClient, number: int, tables: Mapping[str, Embedding], directory: Path) -> Brought:
    """All of it, tables into ``directory``. Blocking.

    Raises:
        OSError: there is no room for them on the disk.
    """
    found = Brought(number)
    spools = {name: Spool(directory) for name in tables}

    def take(slot: int, state: SlotState, rows: dict[str, Snapshot]) -> None:
        found.states[slot] = state
        for name, table in tables.items():
            spools[name].add(table.without_expired(rows[name]))

    visit_slots(client, number, take)
    found.tables = {name: spool.take() for name, spool in spools.items()}
    return found


def visit_slots(
    client: ServersClient, number: int, visit: Callable[[int, SlotState, dict[str, Snapshot]], None]
) -> None:
    """Look at each slot, in order: its dense state, and its rows of each table. Blocking.

    At a time as many are here as fit 32 MB, or one.
    """
    done, together = 0, 1
    while done < SLOTS:
        slots = range(done, min(SLOTS, done + together))
        size_bytes = _visit(client, DumpWork(number, pending=set(slots)), visit)
        together = max(1, _DUMP_BYTES * len(slots) // size_bytes)
        done = slots.stop


def _visit(client: ServersClient, work: DumpWork, visit: Callable[[int, SlotState, dict[str, Snapshot]], None]) -> int:
    for slot in sorted(client.ask(work).states):
        visit(slot, work.states.pop(slot), work.tables.pop(slot))
    return work.size_bytes
