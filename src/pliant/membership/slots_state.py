"""The decider of the coordinator for one job's parameter servers: who holds which slot, and who should exist.

Rules
-----
1. A placement's version is used once, and only grows.
2. Once the job has begun, a slot loses its last holder by death only; that is then the end of all its servers, and the
   job begins again. Before that, such a slot is placed anew.
3. A planned change never leaves a slot with fewer holders than it had before: a server is *filled* (sent the slot by
   its primary), is then a full holder, then perhaps the primary, and only then the old holder is let go. Each of these
   is a placement of its own, so that whoever follows them sees no other change.
4. Who has no room for a slot is not sent it again until the goal is made anew: it stays with whoever holds it.
5. Wrong, late, repeated and reordered events are harmless.

Theory of operation
-------------------
``slots_plan.py`` says where the slots should be in the end: the *goal*, made anew whenever other servers are able to
hold slots, or another number of copies is wanted. What there is goes towards the goal in steps, all that can be done
for all slots at once (:meth:`JobSlots._advance`):

* *repair*: the dead hold nothing; the next full holder is the primary at once; who has received a slot is a holder;
  who should hold a slot and does not begins to be filled;
* *lead*: where nobody is being filled, the goal's primary becomes the primary;
* *let go*: holders that the goal does not want, once all that it wants hold the slot, and as many as there should be.

A primary that dies takes with it what it was sending: whoever it filled is filled again by the next one, from its
version on, and an earlier word of having received the slot counts for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pliant.errors import ConfigError
from pliant.ids import ServerId
from pliant.membership import slots_events as ev
from pliant.membership.slots_facts import ServerRecord, Slot, SlotsFacts
from pliant.membership.slots_plan import first_goal, next_goal
from pliant.wire.server_messages import SLOTS


class JobSlots(SlotsFacts):
    """Decides who holds which slot of one job. Pure: events in, decisions out."""

    def __init__(
        self, *, start: int, minimum: int = 1, maximum: int = SLOTS, copies: int = 2, slots: int = SLOTS
    ) -> None:
        """Nothing is decided before :meth:`begin`.

        Args:
            start: number of servers that must be ready for the first placement.
            minimum: the job never wants fewer.
            maximum: nor more.
            copies: holders of each slot, as far as there are so many servers.
            slots: how many there are.

        Raises:
            ConfigError: These numbers do not fit together.
        """
        if not 1 <= minimum <= start <= maximum <= slots:
            raise ConfigError(
                f"{start} servers are to start, of {minimum} to {maximum}: there must be at least 1 and at most {slots}"
            )
        _check_copies(copies)
        super().__init__(start=start, minimum=minimum, maximum=maximum, copies=copies, slots=slots)

    # ------------------------------------------------------------ events

    def begin(self) -> list[ev.SlotsDecision]:
        """Start the first servers. Call it once."""
        return self._decide()

    def handle(self, event: ev.SlotsEvent) -> list[ev.SlotsDecision]:
        """Take note of one event and decide what follows from it.

        Raises:
            ConfigError: a wanted number is out of bounds; nothing has changed.
        """
        if self.over:
            return []
        match event:
            case ev.ServerReadied(server):
                record = self._servers.get(server)
                if record is None or not record.live:
                    return [ev.RetireServer(server, "this server is not part of the job (any more)")]
                record.ready = True
            case ev.ServerGone(server):
                self._on_gone(server)
            case ev.ServerAskedToLeave(server):
                self._on_asked_to_leave(server)
            case ev.SlotsReceived():
                for slot in self._filling(event):
                    slot.received.add(event.server)
            case ev.SlotsRefused():
                for slot in self._filling(event):
                    slot.refused.add(event.server)
            case ev.WantedChanged(servers):
                self._on_wanted(servers)
            case ev.CopiesChanged(copies):
                _check_copies(copies)
                self.copies = copies
            case ev.JobBegun():
                self._workers_begun = True
                self.begun = bool(self._slots)
            case ev.StateLost():
                return self._begin_again("the job's state is lost")
            case ev.StateFound():
                self.waiting = False
        return self._decide()

    def _on_gone(self, server: ServerId) -> None:
        record = self._servers.get(server)
        if record is None or record.gone:
            return
        if not (record.served or record.retired):
            self._early_deaths.append(server)
        record.gone = True

    def _on_asked_to_leave(self, server: ServerId) -> None:
        record = self._servers.get(server)
        if record is None or not record.live or record.asked_to_leave:
            return
        if server in self._staying():
            self.wanted = max(self.minimum, self.wanted - 1)
        record.asked_to_leave = True

    def _filling(self, event: ev.SlotsReceived | ev.SlotsRefused) -> list[Slot]:
        """Slots that the event is about, if its server is still being sent them by that placement."""
        slots = [self._slots[number] for number in event.slots if 0 <= number < len(self._slots)]
        unknown = self.version + 1
        return [slot for slot in slots if slot.filling.get(event.server, unknown) <= event.version <= self.version]

    def _on_wanted(self, servers: int) -> None:
        if not self.minimum <= servers <= self.maximum:
            raise ConfigError(
                f"{servers} servers are asked for, but the job has at least {self.minimum} and at most {self.maximum}"
            )
        self.wanted = servers
        self._early_deaths.clear()

    # ------------------------------------------------------------ rules

    def _decide(self) -> list[ev.SlotsDecision]:
        rules: Sequence[Callable[[], Sequence[ev.SlotsDecision]]] = (
            self._lose,
            self._give_up,
            self._place,
            self._retire,
            self._start,
        )
        decisions: list[ev.SlotsDecision] = []
        for rule in rules:
            decisions += rule()
            if self.over:
                break
        return decisions

    def _lose(self) -> list[ev.SlotsDecision]:
        """Slots whose last holder has died after the job had begun."""
        if not self.begun:
            return []
        lost = [number for number, slot in enumerate(self._slots) if not self._only_live(slot.holders)]
        if not lost:
            return []
        held = dict.fromkeys(server for n in lost for server in (*self._slots[n].missed, *self._slots[n].holders))
        last = tuple(sorted(held, key=lambda server: self._servers[server].number))
        why = "slots are lost that nobody else holds"
        return [ev.SlotsLost(tuple(lost), last), *self._begin_again(why)]

    def _begin_again(self, reason: str) -> list[ev.SlotsDecision]:
        self.begun, self._workers_begun, self.waiting = False, False, True
        self._slots, self._goal, self._planned_for = [], (), ((), 0)
        return self._dismiss(self._live(), reason)

    def _give_up(self) -> list[ev.SlotsDecision]:
        if not self.starting_halted or self.waiting or (self._slots and self._live()):
            return []
        self.over = True
        dead = ", ".join(self._early_deaths)
        return [
            ev.GiveUp(
                f"{len(self._early_deaths)} servers in a row ({dead}) ended before they held anything, and without "
                f"them the job cannot go on. The end of {self._early_deaths[-1]}.log says why."
            )
        ]

    def _place(self) -> list[ev.SlotsDecision]:
        able = self._able()
        if not self._slots:
            if self.waiting or not able or len(able) < min(self.start, self.wanted):
                return []
            self._goal = first_goal(able, copies=min(self.copies, len(able)), slots=self._count)
            self._slots = [Slot() for _ in range(self._count)]
            self.begun = self._workers_begun
        elif self._planned_for != (able, self.copies):
            have = tuple(slot.holders for slot in self._slots)
            self._goal = next_goal(self._goal, able, copies=self.copies, have=have)
            for slot in self._slots:
                slot.refused.clear()
        self._planned_for = (able, self.copies)
        return self._advance()

    def _retire(self) -> list[ev.SlotsDecision]:
        staying = set(self._staying())
        needed = {server for slot in self._slots for server in (*slot.holders, *slot.filling)}
        spare = [r for r in self._live() if r.server not in staying and r.server not in needed]
        return self._dismiss(spare, "others hold its slots" if self._slots else "the job needs fewer servers")

    def _start(self) -> list[ev.SlotsDecision]:
        if self.waiting or self.starting_halted:
            return []
        decisions: list[ev.SlotsDecision] = []
        for _ in range(self.wanted - sum(not record.asked_to_leave for record in self._live())):
            number = len(self._servers) + 1
            server = ServerId(f"s{number}")
            self._servers[server] = ServerRecord(server, number)
            decisions.append(ev.StartServer(server))
        return decisions

    # ------------------------------------------------------------ towards the goal

    def _advance(self) -> list[ev.SlotsDecision]:
        """Each placement differs from the one before by one kind of step; the last one is as far as it goes now."""
        decisions: list[ev.SlotsDecision] = []
        while True:
            before = [tuple(slot.filling.items()) for slot in self._slots]
            if not (self._each(self._repair) or self._each(self._lead) or self._each(self._let_go)):
                return decisions
            self.version += 1
            begun = sum(
                fill not in known
                for slot, known in zip(self._slots, before, strict=True)
                for fill in slot.filling.items()
            )
            decisions.append(ev.PlacementDecided(self.version, self.places, begun))

    def _each(self, step: Callable[[Slot, tuple[ServerId, ...]], bool]) -> bool:
        """Whether anything changed; every slot has its turn."""
        return sum(step(slot, slot.within_reach(goal)) for slot, goal in zip(self._slots, self._goal, strict=True)) > 0

    def _repair(self, slot: Slot, goal: tuple[ServerId, ...]) -> bool:
        if goal and slot.holders == goal and not slot.filling:
            return False  # a goal has only live servers
        version = self.version + 1
        before, fills = slot.holders, dict(slot.filling)
        slot.holders = self._only_live(before)
        dead = tuple(server for server in before if server not in slot.holders)
        slot.missed += dead
        resent = bool(dead) and before[0] in dead
        if resent:
            slot.received.clear()  # what the new primary knows may be more, or less
        if not slot.holders:
            slot.holders, slot.filling = self._only_live(goal), {}
            slot.missed = () if slot.holders else slot.missed
        else:
            full = tuple(server for server in slot.filling if server in slot.received and self._servers[server].live)
            slot.holders += full
            slot.missed = () if full else slot.missed
            slot.filling = {
                server: version if resent else fills.get(server, version)
                for server in goal
                if server not in slot.holders
            }
        slot.received &= set(slot.filling)
        for server in slot.holders:
            if not self._servers[server].served:
                self._servers[server].served = True
                self._early_deaths.clear()
        return (slot.holders, slot.filling) != (before, fills)

    def _lead(self, slot: Slot, goal: tuple[ServerId, ...]) -> bool:
        if slot.filling or not goal or slot.holders == goal:
            return False
        before = slot.holders
        slot.holders = (*goal, *(server for server in before if server not in goal))
        return slot.holders != before

    def _let_go(self, slot: Slot, goal: tuple[ServerId, ...]) -> bool:
        if slot.filling or slot.holders == goal or len(goal) < min(self.copies, self.wanted):
            return False
        slot.holders = goal
        return True

    def _only_live(self, servers: Sequence[ServerId]) -> tuple[ServerId, ...]:
        return tuple(server for server in servers if self._servers[server].live)

    def _dismiss(self, records: Sequence[ServerRecord], reason: str) -> list[ev.SlotsDecision]:
        for record in records:
            record.retired = True
        return [ev.RetireServer(record.server, reason) for record in records]


def _check_copies(copies: int) -> None:
    if not 1 <= copies <= SLOTS:
        raise ConfigError(f"{copies} copies of each slot are asked for; there must be at least 1 and at most {SLOTS}")
