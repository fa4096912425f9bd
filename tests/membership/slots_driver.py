"""Random histories of a job's servers, which do what they are told unless they die; every placement is checked."""

from __future__ import annotations

import random

from pliant.membership import slots_events as ev
from pliant.membership.slots_state import JobSlots

SLOTS = 12
"""Fewer than there are, so that thousands of histories take seconds."""


class SlotsHistory:
    """Feeds a :class:`JobSlots` with what servers would say, late, twice, or never, and with nonsense."""

    def __init__(self, seed: int, *, nonsense: float = 0.0, full: float = 0.0) -> None:
        self.rng = random.Random(seed)
        self.nonsense, self.full = nonsense, full
        minimum = self.rng.randint(1, 2)
        self.job = JobSlots(
            start=self.rng.randint(minimum, 4),
            minimum=minimum,
            maximum=8,
            copies=self.rng.choice([1, 2, 2, 3]),
            slots=SLOTS,
        )
        self.alive: list[str] = []
        self.started: list[str] = []
        self.pending: list[ev.SlotsEvent] = []
        self.events: list[ev.SlotsEvent] = []
        self.said: list[ev.SlotsDecision] = []
        self.version = 0
        self.places: tuple = ()
        self.primary_deaths = [0] * SLOTS
        """By slot. What a primary had sent is worth nothing once it has died."""
        self.fills: dict[tuple[str, int], int] = {}
        """(server, slot) -> the version in which it began to be sent it."""
        self.received: dict[tuple[str, int], int] = {}
        """(server, slot) -> primary deaths when it had received all of it."""
        self.lost = self.given_up = False
        self.take(self.job.begin())

    # ------------------------------------------------------------ decisions

    def take(self, decisions: list[ev.SlotsDecision]) -> None:
        self.job.invariants()
        for decision in decisions:
            assert not self.given_up, "a decision after the last"
            self.said.append(decision)
            match decision:
                case ev.StartServer(server):
                    assert server not in self.started
                    self.started.append(server)
                    self.alive.append(server)
                    self.pending.append(ev.ServerReadied(server))
                case ev.RetireServer(server):
                    if self.places and not self.job.waiting:
                        newest = {name for place in self.job.places for name in (*place.holders, *place.filling)}
                        assert server not in newest, "whoever holds a slot is needed"
                    if server in self.alive:
                        self.alive.remove(server)
                    self.pending.append(ev.ServerGone(server))
                case ev.PlacementDecided(version, places):
                    self.placed(version, places)
                case ev.SlotsLost(slots, servers):
                    assert slots
                    assert servers
                    assert not any(set(self.places[slot].holders) & set(self.alive) for slot in slots)
                    self.places = ()
                    self.pending.append(ev.StateFound())
                case ev.GiveUp():
                    self.given_up = True

    def placed(self, version: int, places: tuple) -> None:
        assert version == self.version + 1, "versions grow, and none is left out"
        self.version = version
        steps = set()
        for slot, place in enumerate(places):
            old = self.places[slot] if self.places else None
            before = [name for name in (old.holders if old else []) if name in self.alive]
            if old is not None and (before or self.job.begun):
                steps.add(self.step(slot, before, place))
            fresh = [name for name in place.filling if old is None or name not in old.filling]
            restarted = old is not None and old.holders[:1] != before[:1]
            for name in place.filling if restarted else fresh:
                self.received.pop((name, slot), None)
                self.fills[name, slot] = version
                self.pending.append(ev.SlotsReceived(name, version, (slot,)))
        steps.discard("none")
        assert len(steps) <= 1, f"one kind of step in each placement, not {steps}"
        self.places = places

    def step(self, slot: int, before: list[str], place) -> str:
        """What has happened to one slot, as far as nobody died; fails on what may not happen."""
        after = place.holders
        old = self.places[slot]
        if after == before:
            return "none" if (set(old.filling) == set(place.filling) and old.holders == before) else "repair"
        if after[: len(before)] == before:
            for name in after[len(before) :]:
                assert name in old.filling, "only who was being filled becomes a holder"
                assert self.received.get((name, slot)) == self.primary_deaths[slot], "and only if it has all of it"
            return "repair"
        if set(after) == set(before):
            assert not place.filling
            return "lead"
        assert set(after) < set(before), "holders are never exchanged"
        assert len(after) >= min(self.job.copies, self.job.wanted), "a planned change never thins a slot out"
        return "let go"

    # ------------------------------------------------------------ events

    def hear(self, event: ev.SlotsEvent) -> None:
        if isinstance(event, ev.ServerGone) and event.server in self.alive:
            self.alive.remove(event.server)
            for slot, place in enumerate(self.places):
                self.primary_deaths[slot] += place.holders[:1] == [event.server]
        self.events.append(event)
        self.take(self.job.handle(event))

    def deliver(self, index: int = 0) -> None:
        """Something that is outstanding happens, if whoever would do it lives."""
        event = self.pending.pop(index)
        if isinstance(event, ev.SlotsReceived):
            if self.full and self.rng.random() < self.full and event.server in self.alive:
                self.hear(ev.SlotsRefused(event.server, event.version, event.slots))
                return
            (slot,) = event.slots
            place = self.places[slot] if self.places else None
            current = self.fills[event.server, slot] == event.version
            if current and event.server in self.alive and place and event.server in place.filling:
                self.received[event.server, slot] = self.primary_deaths[slot]
                if self.rng.random() < 0.2:  # the word of it is slow
                    self.pending.append(event)
                    return
        elif isinstance(event, ev.ServerReadied) and event.server not in self.alive:
            return
        self.hear(event)
        if self.rng.random() < 0.1:
            self.hear(event)  # a message may come twice

    def anybody(self) -> str:
        return f"s{self.rng.randint(1, len(self.started) + 1)}"

    def disturb(self) -> ev.SlotsEvent:
        rng = self.rng
        if rng.random() < self.nonsense:
            slots = tuple(rng.randint(-1, 70) for _ in range(3))
            return rng.choice(
                [
                    ev.SlotsReceived("s99", rng.randint(0, 99), slots),
                    ev.ServerAskedToLeave("s99"),
                    ev.ServerGone("s99"),
                    ev.StateFound(),
                ]
            )
        wanted = rng.randint(self.job.minimum, self.job.maximum)
        return rng.choice(
            [
                ev.ServerGone(rng.choice(self.alive) if self.alive else self.anybody()),
                ev.ServerGone(self.anybody()),
                ev.ServerAskedToLeave(self.anybody()),
                ev.WantedChanged(wanted),
                ev.CopiesChanged(rng.randint(1, 3)),
                ev.JobBegun(),
                *([ev.StateLost()] if rng.random() < 0.1 else []),
            ]
        )

    def run(self, length: int) -> None:
        for _ in range(length):
            if self.pending and self.rng.random() < 0.85:
                self.deliver(self.rng.randrange(min(40, len(self.pending))))
            else:
                event = self.disturb()
                self.hear(event)
                if isinstance(event, ev.StateLost):
                    self.places = ()
                    self.pending.append(ev.StateFound())

    def settle(self) -> None:
        """Only what is outstanding still happens."""
        for _ in range(20_000):
            if not self.pending or self.given_up:
                return
            self.deliver()
        raise AssertionError("the decider never comes to rest")
