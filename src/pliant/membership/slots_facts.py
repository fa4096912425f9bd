"""What is known of one job's parameter servers and of who holds which slot. The rules are in ``slots_state.py``."""

from __future__ import annotations

from dataclasses import dataclass, field

from pliant.ids import ServerId
from pliant.membership.slots_plan import Goal
from pliant.membership.target_plan import MAX_EARLY_DEATHS
from pliant.wire.server_messages import SlotPlace


@dataclass
class ServerRecord:
    """One server process. Flags are only ever set."""

    server: ServerId
    number: int
    ready: bool = False
    served: bool = False
    """It has been a holder of at least one slot."""
    asked_to_leave: bool = False
    retired: bool = False
    gone: bool = False

    @property
    def live(self) -> bool:
        """The process exists and is not dismissed."""
        return not (self.retired or self.gone)


@dataclass
class Slot:
    """Who holds one slot now, which its goal may differ from."""

    holders: tuple[ServerId, ...] = ()
    """With all of it, the primary first."""
    filling: dict[ServerId, int] = field(default_factory=dict)
    """Who is being sent it, since which version of the placement."""
    received: set[ServerId] = field(default_factory=set)
    """Of those, who has it all by now."""
    missed: tuple[ServerId, ...] = ()
    """Holders that died since there was last a new one."""
    refused: set[ServerId] = field(default_factory=set)
    """Who has no room for it, since the goal was last made anew."""

    def within_reach(self, goal: tuple[ServerId, ...]) -> tuple[ServerId, ...]:
        """Of the goal, whoever has room."""
        return tuple(server for server in goal if server not in self.refused)

    def place(self) -> SlotPlace:
        """As others are told."""
        return SlotPlace(list(self.holders), list(self.filling))


class SlotsFacts:
    """Base of :class:`~pliant.membership.slots_state.JobSlots`: its state, and views of it."""

    def __init__(self, *, start: int, minimum: int, maximum: int, copies: int, slots: int) -> None:
        self.minimum, self.maximum = minimum, maximum
        self.start = start
        self.wanted = start
        """The number of servers wanted now."""
        self.copies = copies
        self.version = 0
        """Of the newest placement; 0 before the first."""
        self.begun = False
        """Lost slots are the end of what the job has done; before, they are placed anew."""
        self._workers_begun = False
        """Workers hold the job's state, perhaps while there is no placement yet."""
        self.waiting = False
        """All servers were dismissed; others are started when there is something to begin again from."""
        self.over = False
        self._count = slots
        self._servers: dict[ServerId, ServerRecord] = {}
        self._slots: list[Slot] = []
        self._goal: Goal = ()
        self._planned_for: tuple[tuple[ServerId, ...], int] = ((), 0)
        """Servers and copies that the goal was made for."""
        self._early_deaths: list[ServerId] = []

    # ------------------------------------------------------------ views

    @property
    def places(self) -> tuple[SlotPlace, ...]:
        """The newest placement; empty before the first, and after all was lost."""
        return tuple(slot.place() for slot in self._slots)

    @property
    def starting_halted(self) -> bool:
        """No server is started any more, because the last few died before they held anything."""
        return len(self._early_deaths) >= MAX_EARLY_DEATHS

    @property
    def settled(self) -> bool:
        """As many servers hold slots as are wanted or can be had, each slot is where it should be (or has
        room), nobody has to go.
        """
        live = [record for record in self._servers.values() if record.live]
        complete = len(live) == self.wanted or self.starting_halted
        there = bool(self._slots) and complete and all(record.ready for record in live)
        return there and all(
            (slot.holders == goal or slot.refused) and not slot.filling
            for slot, goal in zip(self._slots, self._goal, strict=True)
        )

    @property
    def thin(self) -> int:
        """Slots with fewer holders than they should have."""
        least = min(self.copies, self.wanted)
        return sum(len(slot.holders) < least for slot in self._slots)

    def held(self, server: ServerId) -> tuple[int, int, int]:
        """Of how many slots it is the primary, has a copy, and is being sent one."""
        primary = sum(slot.holders[:1] == (server,) for slot in self._slots)
        copy = sum(server in slot.holders[1:] for slot in self._slots)
        return primary, copy, sum(server in slot.filling for slot in self._slots)

    def is_leaving(self, server: ServerId) -> bool:
        """It is not wanted, or wants to go, and others are to hold its slots first."""
        record = self._servers.get(server)
        return record is not None and record.live and server not in self._staying()

    # ------------------------------------------------------------ who stays

    def _live(self) -> list[ServerRecord]:
        return [record for record in self._servers.values() if record.live]

    def _staying(self) -> list[ServerId]:
        """Whom the job wants: of too many, the newest go, and those that are not ready yet before them."""
        willing = [record for record in self._live() if not record.asked_to_leave]
        chosen = sorted(willing, key=lambda record: (not record.ready, record.number))[: self.wanted]
        return [record.server for record in chosen]

    def _able(self) -> tuple[ServerId, ...]:
        """Those of them that can hold slots, oldest first."""
        staying = set(self._staying())
        return tuple(record.server for record in self._live() if record.ready and record.server in staying)

    # ------------------------------------------------------------ invariants

    def invariants(self) -> None:
        """Raise AssertionError if the state contradicts itself. Tests call it after every event."""
        for number, (slot, goal) in enumerate(zip(self._slots, self._goal, strict=True)):
            known = (*slot.holders, *slot.filling)
            _require(len(set(known)) == len(known), f"nobody holds slot {number} twice, or is sent what it has")
            _require(all(self._servers[server].live for server in known), f"only live servers hold slot {number}")
            _require(all(server in goal for server in slot.filling), f"slot {number} is sent to whom it should be")
            _require(bool(slot.holders) or not slot.filling, f"somebody can send slot {number}")
            _require(bool(slot.holders) or not self.begun, f"somebody holds slot {number}")
            _require(slot.received <= set(slot.filling), f"only who is sent slot {number} receives it")
        if self._slots:
            _require(all(self._servers[server].live for server in self._able()), "only live servers are planned for")
        else:
            _require(not self.begun, "a job that has begun has a placement")


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise AssertionError(f"slots invariant broken: {what}")
