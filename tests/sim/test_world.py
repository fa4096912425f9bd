"""Thousands of simulated jobs; and that the referee sees a broken protocol."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from pliant.ids import WorkerId
from pliant.membership import events as ev
from pliant.membership import state
from pliant.membership.accusation_plan import Accusations
from pliant.membership.pace_plan import Dealer
from pliant.sim.group import Group
from pliant.sim.ledger import ViolationError
from pliant.sim.scenario import Fault, Scenario
from pliant.sim.worker import SimWorker
from pliant.sim.world import World, simulate

BLOCK = 600


@pytest.mark.parametrize("block", range(5))
def test_thousands_of_seeds(block):
    """On a failure the message names the seed: ``simulate(seed)`` does it again."""
    outcomes: Counter[str] = Counter()
    faults = uneven = restarts = 0
    for seed in range(block * BLOCK, (block + 1) * BLOCK):
        result = simulate(seed)
        outcomes[result.outcome] += 1
        faults += result.faults
        uneven += result.uneven
        restarts += result.restarts
    assert uneven > BLOCK / 10, "hardly any deal by speed"
    assert restarts > BLOCK / 20, "hardly any job went on from a checkpoint"
    assert faults > BLOCK / 2, "the faults did not fire"
    assert outcomes["finished"] > BLOCK / 2
    assert outcomes["failed-lost"] > 0
    assert outcomes["stopped"] > 0


def test_the_same_seed_does_the_same():
    assert [simulate(seed) for seed in range(40)] == [simulate(seed) for seed in range(40)]


def test_scenarios_without_faults_always_finish():
    calm = [seed for seed in range(1000) if not Scenario.from_seed(seed).faults]
    assert len(calm) > 50
    assert {simulate(seed).outcome for seed in calm} == {"finished"}


def find_violation(seeds: int = 4000) -> str:
    """The first story told within so many seeds."""
    for seed in range(seeds):
        try:
            simulate(seed)
        except ViolationError as error:
            return str(error)
    return ""


def test_committing_without_acknowledgements_is_found(monkeypatch):
    """Whoever is one behind and does not hold the gradient cannot be helped."""
    gather = Group.gather

    def careless(self: Group, kind: str, number: int, sources=None):
        return {} if kind == "ack" else gather(self, kind, number, sources)

    monkeypatch.setattr(Group, "gather", careless)
    story = find_violation()
    assert story.startswith("seed ")
    assert "cannot catch up" in story


def test_going_back_on_a_promise_is_found(monkeypatch):
    """A member that drops a planned group although the pass in flight may switch to it."""

    def refuse(self: SimWorker) -> None:
        promised, self.main.promised = self.main.promised, 0
        normal(self)
        self.main.promised = promised

    normal = SimWorker.refuse_failed_plan
    monkeypatch.setattr(SimWorker, "refuse_failed_plan", refuse)
    assert "without its group" in find_violation(20000)


def test_keeping_outdated_leavers_is_found(monkeypatch):
    """A recovery that takes leavers along although the others may have gone further."""

    def survivors(roster, *, current, planned):
        order = dict.fromkeys((*current.members, *(planned.members if planned else ())))
        return [worker for worker in roster.only_live(order) if roster[worker].stateful]

    def shrink_and_kill(seed: int) -> Scenario:
        faults = (Fault(0.0, "ambush"), Fault(25.0, "leave"))
        size = {"minimum": 1, "maximum": 4, "start": 4, "target": 4, "shards": 4, "passes": 30}
        return replace(Scenario.from_seed(seed), slow_control=4.0, losses=0.3, faults=faults, **size)

    for seed in range(200):
        World(shrink_and_kill(seed)).run()
    monkeypatch.setattr(state, "survivors", survivors)
    with pytest.raises(ViolationError, match="cannot catch up"):  # noqa: PT012
        for seed in range(2000):
            World(shrink_and_kill(seed)).run()


def test_beginning_again_at_pass_0_instead_of_the_checkpoint_is_found(monkeypatch):
    monkeypatch.setattr(SimWorker, "restore", property(lambda self: None, lambda self, value: None), raising=False)
    assert "the job began again although there is a checkpoint" in find_violation()


def test_a_checkpoint_with_other_weights_is_found(monkeypatch):
    keep = World._keep
    monkeypatch.setattr(
        World, "_keep", lambda self, worker, state: keep(self, worker, state._replace(weights=state.weights + 1))
    )
    assert "received other weights" in find_violation()


def test_a_worker_that_never_answers_is_found(monkeypatch):
    monkeypatch.setattr(SimWorker, "_on_interrupt", lambda self, generation: None)
    assert "never ends" in find_violation()


def test_members_that_deal_by_different_numbers_are_found(monkeypatch):
    heard, rng = Dealer.heard, random.Random(1)

    def mishear(self: Dealer, paces, *, shards: int) -> None:
        heard(self, [pace * rng.choice((0.2, 5.0)) for pace in paces], shards=shards)

    monkeypatch.setattr(Dealer, "heard", mishear)
    assert "counts the shards" in find_violation()


def test_nothing_is_left_undecided(monkeypatch):
    """What the decider skips for the many events of many members would have led to nothing."""
    handle, checked = state.JobMembership.handle, Counter()

    def thorough(self: state.JobMembership, event: ev.MembershipEvent) -> list[ev.Decision]:
        said = handle(self, event)
        skipping = isinstance(event, ev.WorkerConnected | ev.WorkerReadied | ev.GenerationBroke)
        if skipping and self.outcome is None and not self._more_to_come():
            assert self._decide() == []
            checked[type(event)] += 1
        return said

    monkeypatch.setattr(state.JobMembership, "handle", thorough)
    for seed in range(1000):
        simulate(seed)
    assert min(checked.values()) > 20
    assert len(checked) == 3


def calm(seed: int, *faults: Fault, **changes) -> Scenario:
    """Four workers, and only these faults."""
    size = {"minimum": 1, "maximum": 4, "start": 4, "target": 4, "shards": 8, "passes": 30, "slow_control": 1.0}
    return replace(Scenario.from_seed(seed), losses=0.0, duplicates=0.0, faults=faults, **{**size, **changes})


def run_and_expel(scenario: Scenario, monkeypatch) -> tuple[str, list[str]]:
    """The outcome, and who was expelled because others could not reach it."""
    expelled = []
    world = World(scenario)
    handle = world.membership.handle

    def listen(event):
        decisions = handle(event)
        expelled.extend(str(d.worker) for d in decisions if isinstance(d, ev.ExpelWorker))
        return decisions

    monkeypatch.setattr(world.membership, "handle", listen)
    return world.run().outcome, expelled


def test_one_of_two_that_cannot_reach_each_other_is_expelled(monkeypatch):
    counts: Counter[int] = Counter()
    for seed in range(100):
        outcome, expelled = run_and_expel(calm(seed, Fault(20.0, "wall")), monkeypatch)
        assert outcome == "finished"
        counts[len(expelled)] += 1
    assert set(counts) <= {0, 1}, "an innocent was expelled as well"
    assert counts[1] > 80  # else the wall fell between workers that were not in one generation any more


def test_without_expulsion_such_a_job_would_be_lost(monkeypatch):
    monkeypatch.setattr(Accusations, "broke", lambda self, among, *, entered_by_all: None)
    with pytest.raises(ViolationError, match="given up although a living worker holds the state"):  # noqa: PT012
        for seed in range(20):
            World(calm(seed, Fault(20.0, "wall"))).run()


def test_the_worker_that_nobody_reaches_is_the_one_to_go(monkeypatch):
    """Not those that it accuses, however early its word comes."""
    for seed in range(100):
        world = World(calm(seed))
        victim = WorkerId(f"w{1 + seed % 4}")

        def isolate(world=world, victim=victim):
            for other in [other for other in world.workers.values() if other.worker != victim]:
                world.mesh.wall(victim, other.worker)
                other.wall(victim)
                world.workers[victim].wall(other.worker)

        world.engine.at(20.0, isolate)
        expelled = []
        handle = world.membership.handle

        def listen(event, handle=handle, expelled=expelled):
            decisions = handle(event)
            expelled.extend(d.worker for d in decisions if isinstance(d, ev.ExpelWorker))
            return decisions

        monkeypatch.setattr(world.membership, "handle", listen)
        assert world.run().outcome == "finished"
        assert expelled == [victim], f"seed {seed}"


def test_frozen_workers_cost_nothing_but_themselves():
    outcomes = Counter(
        World(calm(seed, Fault(15.0, "freeze"), Fault(16.0, "freeze"))).run().outcome for seed in range(100)
    )
    assert outcomes == {"finished": 100}
