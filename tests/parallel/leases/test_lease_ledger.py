"""The ledger of leases, over random histories of workers that come, go, die, repeat themselves and hear things late."""

from __future__ import annotations

import random

import msgspec
import pytest

from pliant.parallel.leases.ledger import UNBOUNDED, Asked, CallShape, Finished, Given, LeaseLedger, LedgerState

SHARDS = 3


def shape(**changes) -> CallShape:
    usual = {"call": 0, "kind": "steps", "first_step": 0, "steps": 7, "shards": SHARDS}
    return CallShape(**{**usual, **changes})


class Cluster:
    """Workers that take leases and finish them, and the ledger, which may be replaced by a copy of itself."""

    def __init__(self, of: CallShape, seed: int) -> None:
        self.shape, self.random = of, random.Random(seed)
        self.ledger = LeaseLedger()
        self.generation, self.members = 1, ["w1", "w2"]
        self.holds: dict[str, int] = {}
        self.over: set[str] = set()
        self.finished: dict[str, Finished | None] = {}
        self.released = 0
        self.given: list[int] = []
        self.done: set[int] = set()
        self.quiet: list[int] = []
        self.born = 2

    def asked(self, worker: str, *, stop: bool = False) -> Asked:
        return Asked(
            self.shape,
            self.generation,
            list(self.members),
            finished=self.finished.get(worker),
            stop=stop,
            released=self.released if worker == self.members[0] else 0,
        )

    def ask(self, worker: str, *, stop: bool = False) -> Given | None:
        asked = self.asked(worker, stop=stop)
        self.ledger.hear(worker, asked)
        if asked.finished is not None:
            self.done.add(asked.finished.index)
        given = self.ledger.give(worker, asked)
        if given is not None:
            self.finished[worker] = None
            self._check(worker, given)
        return given

    def act(self, *, staleness: int = UNBOUNDED) -> None:
        """Something happens."""
        kind = self.random.choices(["ask", "finish", "die", "join", "copy"], weights=[8, 8, 1, 1, 1])[0]
        worker = self.random.choice(self.members)
        if kind == "ask" and worker not in self.over:
            self.ask(worker)
        elif kind == "finish" and worker in self.holds:
            index = self.holds.pop(worker)
            self.finished[worker] = Finished(index, samples=10, loss=1.0, staleness=0)
            if self.random.random() < 0.9:
                self.ask(worker)  # else it dies perhaps before it has told anybody
        elif kind == "die" and len(self.members) > 1:
            self.members.remove(worker)
            self.holds.pop(worker, None)
            self.finished.pop(worker, None)
            self.generation += 1
        elif kind == "join" and len(self.members) < 5:
            self.born += 1
            self.members.append(f"w{self.born}")
            self.generation += 1
        elif kind == "copy":
            plain = msgspec.msgpack.encode(self.ledger.state)
            self.ledger = LeaseLedger(msgspec.msgpack.decode(plain, type=LedgerState))

    def _check(self, worker: str, given: Given) -> None:
        match given.what:
            case "work":
                assert given.index not in self.done, "a lease that is done was given again"
                held = {each: index for each, index in self.holds.items() if each != worker}
                assert given.index not in held.values(), "two members have the same lease"
                self.holds[worker] = given.index
                self.given.append(given.index)
                step, oldest = self.step(given.index), min(set(range(self.shape.leases)) - self.done)
                if self.shape.staleness != UNBOUNDED:
                    assert step - self.step(oldest) <= self.shape.staleness
                if self.shape.every:
                    assert step // self.shape.every * self.shape.every <= self.released
            case "quiet":
                assert worker == self.members[0], "another than the main worker was told of it"
                assert self.done == set(range((given.step - self.shape.first_step) * self.shape.shards))
                self.quiet.append(given.step)
                self.released = given.step
            case "over":
                assert self.done == set(range(self.shape.leases))
                self.over.add(worker)
            case what:
                raise AssertionError(what)

    def step(self, index: int) -> int:
        return self.shape.first_step + index // self.shape.shards

    def run(self) -> None:
        for _ in range(5000):
            self.act()
            if self.over.issuperset(self.members):
                return
        raise AssertionError(f"not over: {self.ledger.state}")


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    "options", [{}, {"staleness": 0}, {"staleness": 2}, {"every": 2}, {"every": 3, "staleness": 1}]
)
def test_every_lease_is_done_within_the_bounds_whatever_happens(options, seed):
    cluster = Cluster(shape(**options), seed)
    cluster.run()
    assert set(cluster.given) == set(range(cluster.shape.leases))
    every = cluster.shape.every
    assert sorted(set(cluster.quiet)) == (list(range(every, cluster.shape.steps, every)) if every else [])
    news = cluster.ledger.state.news
    assert [(each.step, each.samples, each.loss) for each in news] == [(step, 30, 1.0) for step in range(7)]


def test_leases_are_given_in_order_and_one_at_a_time():
    cluster = Cluster(shape(), 0)
    assert [cluster.ask("w1").index, cluster.ask("w2").index, cluster.ask("w1").index] == [0, 1, 0]


def test_a_lost_workers_lease_comes_before_others():
    cluster = Cluster(shape(), 0)
    for worker in ("w1", "w2"):
        cluster.ask(worker)
    cluster.members, cluster.generation = ["w2"], 2
    cluster.holds.pop("w1")
    cluster.finished["w2"] = Finished(1, samples=1)
    assert cluster.ask("w2").index == 0


def test_who_waits_gets_the_lease_of_a_worker_that_dies():
    cluster = Cluster(shape(steps=1, shards=2), 0)
    assert [cluster.ask("w1").index, cluster.ask("w2").index] == [0, 1]
    cluster.finished["w2"] = Finished(cluster.holds.pop("w2"))
    assert cluster.ask("w2") is None
    cluster.members, cluster.generation = ["w2"], 2
    cluster.holds.pop("w1")
    assert cluster.ask("w2").index == 0


def test_a_ledger_that_has_forgotten_what_it_gave_does_not_lose_count():
    cluster = Cluster(shape(steps=2), 0)
    cluster.finished["w1"] = Finished(4, samples=1)  # of a ledger that nobody has a copy of
    found = []
    while (given := cluster.ask("w1")).what == "work":
        found.append(given.index)
        cluster.finished["w1"] = Finished(cluster.holds.pop("w1"), samples=1)
    assert found == [0, 1, 2, 3, 5]
    assert given.what == "over"


def test_a_stop_waits_for_what_was_given_and_ends_at_a_step():
    cluster = Cluster(shape(), 0)
    assert [cluster.ask("w1").index, cluster.ask("w2").index] == [0, 1]
    cluster.finished["w1"] = Finished(cluster.holds.pop("w1"))
    assert cluster.ask("w1", stop=True).index == 2, "the step was not given to its end"
    cluster.finished["w1"] = Finished(cluster.holds.pop("w1"))
    assert cluster.ask("w1", stop=True) is None
    cluster.ledger.hear("w2", Asked(cluster.shape, 1, ["w1", "w2"], finished=Finished(1)))
    for worker in ("w1", "w2"):
        given = cluster.ledger.give(worker, cluster.asked(worker))
        assert (given.what, given.step) == ("stop", 1)


def test_an_evaluation_gives_all_results_to_everybody_also_when_the_others_have_gone_on():
    cluster = Cluster(shape(kind="evaluate", steps=1, shards=2), 0)
    for worker, result in (("w1", b"one"), ("w2", b"two")):
        cluster.finished[worker] = Finished(cluster.ask(worker).index, result=result)
        cluster.holds.pop(worker)
    assert cluster.ask("w1") is None
    assert cluster.ask("w2").results == [b"one", b"two"]
    cluster.ledger.hear("w2", Asked(shape(call=1), 1, ["w1", "w2"]))
    late = Asked(cluster.shape, 1, ["w1", "w2"])
    cluster.ledger.hear("w1", late)
    assert cluster.ledger.give("w1", late) == Given("over", floor=2, results=[b"one", b"two"])
    cluster.ledger.hear("w2", Asked(shape(call=2, kind="evaluate"), 1, ["w1", "w2"]))
    cluster.ledger.hear("w2", Asked(shape(call=3), 1, ["w1", "w2"]))
    assert cluster.ledger.give("w1", late).what == "passed"


def test_a_worker_that_leaves_the_loop_ends_it_for_all():
    cluster = Cluster(shape(), 0)
    for worker in ("w1", "w2"):
        cluster.ask(worker)
    left = msgspec.structs.replace(cluster.asked("w1"), leave=True)
    cluster.ledger.hear("w1", left)
    assert cluster.ledger.give("w1", left) is None, "w2 has a lease"
    cluster.finished["w2"] = Finished(cluster.holds.pop("w2"), samples=10)
    cluster.ledger.hear("w2", cluster.asked("w2"))
    for worker in ("w1", "w2"):
        given = cluster.ledger.give(worker, cluster.asked(worker))
        assert (given.what, given.step) == ("over", 1), "the step that was begun is the last one"
    cluster.ledger.hear("w1", Asked(shape(call=1, first_step=1), 1, ["w1", "w2"]))
    late = cluster.asked("w2")
    cluster.ledger.hear("w2", late)
    assert (cluster.ledger.give("w2", late).what, cluster.ledger.give("w2", late).step) == ("over", 1)


def test_what_is_told_twice_counts_once():
    cluster = Cluster(shape(), 0)
    cluster.finished["w1"] = Finished(cluster.ask("w1").index, samples=10, loss=2.0, staleness=3)
    cluster.holds.clear()
    asked = cluster.asked("w1")
    for _ in range(3):
        cluster.ledger.hear("w1", asked)
    assert cluster.ledger.state.staleness == {3: 1}
    assert cluster.ledger.state.floor == 1
