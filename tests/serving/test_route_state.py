"""The router's state machine: by example, and over random histories in which everything happens."""

import random
from collections import Counter

import pytest

from pliant.serving.batch_plan import BatchRules
from pliant.serving.route_events import (
    Cancel,
    Compute,
    Fail,
    KillReplica,
    Refuse,
    Request,
    RetireReplica,
    StartReplica,
)
from pliant.serving.route_state import RouteState

RULES = BatchRules(most_rows=4, most_waiting=16)


def ready(count, **rules):
    """A state with so many replicas that wait for work, numbered from 1."""
    state = RouteState(BatchRules(**{"most_rows": 4, "most_waiting": 16, **rules}))
    assert state.scale(count, 0.0) == [StartReplica(n + 1) for n in range(count)]
    for number in range(count):
        assert state.replica_ready(number + 1, 0.0) == []
    return state


def came(state, *ids, now_s=0.0, **more):
    return [decision for number in ids for decision in state.came(Request(number, now_s, **more), now_s)]


def test_a_request_goes_to_a_free_replica_at_once():
    state = ready(2)
    assert came(state, 10) == [Compute(2, (10,))]
    assert came(state, 11) == [Compute(1, (11,))]
    assert came(state, 12, 13) == []
    assert len(state) == 4
    assert state.answered(2, [10], 1.0) == [Compute(2, (12, 13))]
    assert state.answered(2, [12, 13], 1.0) == []
    assert len(state) == 1


def test_who_waits_and_how_many_batches_a_replica_has_answered():
    state = ready(1)
    came(state, 10, 11, 12)
    assert (len(state), state.waiting) == (3, 2)
    state.client_left(11, 0.1)
    state.client_left(10, 0.1)
    assert (len(state), state.waiting) == (1, 1)
    state.answered(1, [10], 0.2)
    assert (len(state), state.waiting, state.replicas[1].batches) == (1, 0, 1)
    state.raised(1, "ValueError", 0.3)
    assert (len(state), state.waiting, state.replicas[1].batches) == (0, 0, 1)


def test_the_one_that_was_busy_last_gets_the_next():
    state = ready(3)
    came(state, 10)
    state.answered(3, [10], 0.1)
    assert came(state, 11) == [Compute(3, (11,))]


def test_from_zero_requests_wait_for_the_first_replica():
    state = RouteState(RULES)
    assert came(state, 10, 11) == []
    assert state.scale(1, 0.0) == [StartReplica(1)]
    assert state.replica_ready(1, 0.2) == [Compute(1, (10, 11))]


def test_a_dead_replicas_requests_are_computed_by_another_one_and_a_replacement_starts():
    state = ready(2)
    came(state, 10, 11, 12)
    assert state.replica_died(2, "SIGKILL", 1.0) == [StartReplica(3)]
    assert state.answered(1, [11], 1.1) == [Compute(1, (10, 12))]
    assert state.replica_ready(3, 1.2) == []
    assert state.replica_died(2, "said twice", 1.2) == []


def test_a_request_that_kills_replicas_ends_alone_and_harms_nobody_else():
    state = ready(1)
    came(state, 1)
    came(state, 10, 11, 12)
    assert state.answered(1, [1], 0.1) == [Compute(1, (10, 11, 12))]
    assert state.replica_died(1, "crash", 1.0) == [StartReplica(2)]
    assert state.replica_ready(2, 1.1) == [Compute(2, (10, 11, 12))]
    assert state.replica_died(2, "crash", 2.0) == [StartReplica(3)]
    assert state.replica_ready(3, 2.1) == [Compute(3, (10,))]
    assert state.answered(3, [10], 2.2) == [Compute(3, (11,))]
    assert state.replica_died(3, "crash", 3.0) == [
        Fail(11, "killed", "3 replicas ended over it: crash"),
        StartReplica(4),
    ]
    assert state.replica_ready(4, 3.1) == [Compute(4, (12,))]
    assert state.answered(4, [12], 3.2) == []
    assert len(state) == 0


def test_what_must_not_be_repeated_and_what_has_begun_fails_at_once():
    state = ready(2)
    came(state, 10, repeatable=False)
    came(state, 11)
    state.answer_began(11)
    (fail, start) = state.replica_died(2, "SIGKILL", 1.0)
    assert (fail.request, fail.kind, start) == (10, "killed", StartReplica(3))
    (fail, start) = state.replica_died(1, "SIGKILL", 1.0)
    assert (fail.request, fail.kind, start) == (11, "cut", StartReplica(4))
    assert len(state) == 0


def test_a_batch_that_raises_is_halved_until_the_poison_is_alone():
    state = ready(1)
    came(state, 1)
    came(state, 10, 11, 12, 13)
    state.answered(1, [1], 0.1)
    assert state.raised(1, "ValueError", 0.2) == [Compute(1, (10, 11))]
    assert state.answered(1, [10, 11], 0.3) == [Compute(1, (12, 13))]
    assert state.raised(1, "ValueError", 0.4) == [Compute(1, (12,))]
    assert state.answered(1, [12], 0.5) == [Compute(1, (13,))]
    assert state.raised(1, "ValueError", 0.6) == [Fail(13, "raised", "ValueError")]
    assert len(state) == 0


def test_the_queue_is_bounded_and_deadlines_are_kept():
    state = ready(1, most_waiting=2)
    came(state, 10)
    came(state, 11, deadline_s=0.5)
    came(state, 12)
    (refused,) = came(state, 13)
    assert (refused.request, refused.kind) == (13, "full")
    assert state.tick(0.6) == []
    assert state.answered(1, [10], 0.7) == [
        Fail(11, "late", "its deadline passed while it waited"),
        Compute(1, (12,)),
    ]
    state.batch_s = 1.0
    (refused,) = came(state, 14, deadline_s=0.9)
    assert (refused.request, refused.kind) == (14, "late")


def test_a_client_that_leaves():
    state = ready(1)
    came(state, 10, 11)
    assert state.client_left(11, 0.1) == []
    assert state.client_left(10, 0.1) == [Cancel(1, 10)]
    assert len(state) == 0
    assert state.client_left(10, 0.1) == []
    assert came(state, 12) == []
    assert state.answered(1, [10], 0.2) == [Compute(1, (12,))]


def test_a_hung_replica_is_killed_and_what_it_says_later_is_ignored():
    state = ready(1)
    came(state, 10)
    assert state.replica_hangs(1, "silent for 2 s", 2.0) == [KillReplica(1, "silent for 2 s"), StartReplica(2)]
    assert state.answered(1, [10], 2.1) == []
    assert state.replica_ready(2, 2.2) == [Compute(2, (10,))]


def test_fewer_replicas_starting_ones_first_then_idle_ones_then_busy_ones_when_they_are_done():
    state = ready(2)
    came(state, 10)
    assert state.scale(3, 0.0) == [StartReplica(3)]
    assert state.scale(2, 0.1) == [RetireReplica(3)]
    assert state.scale(1, 0.2) == [RetireReplica(1)]
    assert state.scale(0, 0.3) == []
    assert state.answered(2, [10], 0.4) == [RetireReplica(2)]
    assert state.replicas == {}


def test_one_that_was_to_go_is_kept_when_it_is_needed_again():
    state = ready(1)
    came(state, 10)
    state.scale(0, 0.1)
    assert state.scale(1, 0.2) == []
    assert state.answered(1, [10], 0.3) == []
    assert came(state, 11) == [Compute(1, (11,))]


def test_stopping_answers_what_was_taken_and_takes_nothing_more():
    state = ready(2)
    came(state, 10, 11, 12)
    assert state.stop(1.0) == []
    (refused,) = came(state, 13)
    assert refused.kind == "stopping"
    assert state.answered(2, [10], 1.1) == [Compute(2, (12,))]
    assert set(state.answered(1, [11], 1.2) + state.answered(2, [12], 1.3)) == {RetireReplica(1), RetireReplica(2)}
    assert state.replicas == {}


def test_a_model_that_does_not_start_fails_its_requests_and_says_why():
    state = RouteState(RULES)
    came(state, 10)
    assert state.scale(1, 0.0) == [StartReplica(1)]
    assert state.replica_died(1, "exit code 1", 0.1) == [StartReplica(2)]
    assert state.replica_died(2, "exit code 1", 0.2) == [StartReplica(3)]
    (fail,) = state.replica_died(3, "exit code 1", 0.3)
    assert fail == Fail(10, "broken", "3 replicas in a row did not start; the last: exit code 1")
    (refused,) = came(state, 11)
    assert (refused.kind, refused.reason) == ("broken", fail.reason)
    assert state.scale(1, 0.4) == []
    assert state.mend(1.0) == [StartReplica(4)]
    assert state.replica_ready(4, 1.1) == []
    assert came(state, 12) == [Compute(4, (12,))]


def test_replicas_of_an_earlier_router_are_found_again():
    state = RouteState(RULES)
    state.scale(2, 0.0)
    assert state.replica_ready(7, 0.1) == [RetireReplica(1)]
    assert came(state, 10) == [Compute(7, (10,))]
    assert state.scale(3, 0.2) == [StartReplica(8)]


def test_replicas_that_are_known_to_come_are_not_replaced():
    state = RouteState(RULES)
    state.found(4, 0.0)
    state.found(6, 0.0)
    assert state.replica_ready(2, 0.0) == []
    assert state.replica_died(2, "it had ended", 0.0) == []
    assert state.scale(3, 0.1) == [StartReplica(7)]
    assert state.replica_ready(6, 0.2) == []
    assert state.replica_died(4, "it had ended", 0.2) == [StartReplica(8)]


class Checked:
    """Drives one state with random events, and knows what must be true."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.state = RouteState(BatchRules(most_rows=4, most_waiting=12, wait_s=self.random.choice([0.0, 0.2])))
        self.now_s = 0.0
        self.ids = 0
        self.alive, self.starting, self.owes = set(), set(), {}
        self.inside, self.ended = set(), Counter()
        self.poison, self.deadly = set(), set()
        self.kinds = Counter()

    def carry_out(self, decisions):
        for decision in decisions:
            self.kinds[type(decision).__name__] += 1
            match decision:
                case StartReplica(number):
                    assert number not in self.alive | self.starting
                    self.starting.add(number)
                case Compute(replica, requests):
                    assert replica in self.alive
                    assert not self.owes.get(replica)
                    assert len(set(requests)) == len(requests) <= 4
                    for other in self.owes.values():
                        assert not set(requests) & other, "computed by two at once"
                    assert set(requests) <= self.inside
                    self.owes[replica] = set(requests)
                case RetireReplica(number):
                    assert not self.owes.get(number)
                    self.gone(number)
                case KillReplica(number):
                    self.gone(number)
                case Refuse(request) | Fail(request):
                    self.end(request)
                case Cancel(replica, request):
                    assert request in self.owes[replica]

    def gone(self, number):
        self.alive.discard(number)
        self.starting.discard(number)
        self.owes.pop(number, None)

    def end(self, request):
        assert request in self.inside
        self.inside.discard(request)
        self.ended[request] += 1

    # ------------------------------------------------------------ events

    def come(self):
        self.ids += 1
        self.inside.add(self.ids)
        if self.random.random() < 0.1:
            self.poison.add(self.ids)
        if self.random.random() < 0.05:
            self.deadly.add(self.ids)
        deadline_s = self.now_s + self.random.random() * 3 if self.random.random() < 0.3 else None
        request = Request(
            self.ids, self.now_s, self.random.choice([1, 1, 2]), self.random.choice("aab"), deadline_s,
            repeatable=self.random.random() < 0.9,
        )  # fmt: skip
        self.carry_out(self.state.came(request, self.now_s))

    def leave(self):
        if self.inside:
            request = self.random.choice(sorted(self.inside))
            decisions = self.state.client_left(request, self.now_s)
            self.carry_out(decisions)
            self.end(request)

    def compute(self):
        """Some replica has done what it owes, or a part of it, or dies of it."""
        busy = sorted(number for number, owed in self.owes.items() if owed)
        if not busy:
            return
        number = self.random.choice(busy)
        owed = self.owes[number]
        if owed & self.deadly:
            self.die(number)
        elif owed & self.poison:
            self.owes[number] = set()
            self.carry_out(self.state.raised(number, "it raised", self.now_s))
        else:
            done = owed if self.random.random() < 0.8 else {min(owed)}
            for request in done & self.inside:
                if self.random.random() < 0.2:
                    self.state.answer_began(request)
                self.end(request)
            self.owes[number] = owed - done
            self.carry_out(self.state.answered(number, done, self.now_s))

    def begin(self):
        """Up it comes, or not."""
        if self.starting:
            number = self.random.choice(sorted(self.starting))
            if self.random.random() < 0.15:
                self.die(number)
            else:
                self.starting.discard(number)
                self.alive.add(number)
                self.carry_out(self.state.replica_ready(number, self.now_s))

    def die(self, number=None):
        if number is None and (there := sorted(self.alive | self.starting)):
            number = self.random.choice(there)
        if number is not None:
            self.gone(number)
            self.carry_out(self.state.replica_died(number, "it died", self.now_s))

    def hang(self):
        if self.alive:
            number = self.random.choice(sorted(self.alive))
            self.carry_out(self.state.replica_hangs(number, "it hangs", self.now_s))
            self.carry_out(self.state.answered(number, [1, 2, 3], self.now_s))

    def scale(self):
        self.carry_out(self.state.scale(self.random.randrange(5), self.now_s))

    def tick(self):
        self.now_s += self.random.random()
        self.carry_out(self.state.tick(self.now_s))

    def step(self):
        events = [self.come, self.compute, self.begin, self.tick, self.leave, self.scale, self.die, self.hang]
        self.random.choices(events, [40, 25, 10, 8, 5, 4, 2, 1])[0]()
        assert len(self.state) == len(self.inside)
        assert self.state.waiting == len(self.inside.difference(*self.owes.values()))
        assert all(count == 1 for count in self.ended.values())

    def settle(self):
        """From here on nothing dies but of what it is given; everything must come to an end."""
        self.carry_out(self.state.mend(self.now_s))
        self.carry_out(self.state.scale(2, self.now_s))
        for _ in range(500):
            if not self.inside:
                return
            self.now_s += 0.3
            for number in sorted(self.starting):
                self.starting.discard(number)
                self.alive.add(number)
                self.carry_out(self.state.replica_ready(number, self.now_s))
            self.compute()
            self.carry_out(self.state.tick(self.now_s))
        raise AssertionError(f"never answered: {self.inside}")


@pytest.mark.parametrize("part", range(10))
def test_whatever_happens_every_request_ends_once_and_nothing_leaks(part):
    kinds = Counter()
    for seed in range(part * 100, part * 100 + 100):
        run = Checked(seed)
        for _ in range(run.random.randrange(20, 300)):
            run.step()
        run.settle()
        assert len(run.state) == 0
        assert run.ended.total() == run.ids
        run.carry_out(run.state.stop(run.now_s))
        for _ in range(50):
            run.compute()
        assert run.state.replicas == {}
        assert run.state._requests == {}
        assert len(run.state.queue) == run.state.queue.rows == 0
        kinds += run.kinds
    assert set(kinds) == {
        "StartReplica", "Compute", "RetireReplica", "KillReplica", "Refuse", "Fail", "Cancel",
    }  # fmt: skip
