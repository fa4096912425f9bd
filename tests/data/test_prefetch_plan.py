from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pliant.data.base import Key
from pliant.data.prefetch_plan import PrefetchPlan, spread

SHARDS = 6


def keys(plan, count):
    return [plan.next_order() for _ in range(count)]


def test_orders_follow_training_across_the_end_of_an_epoch():
    plan = PrefetchPlan(lambda shard: 2 if shard < 2 else 1)  # the last step fills shards 0 and 1 only
    plan.assign([3, 1], epoch=0, step=0)
    assert keys(plan, 5) == [Key(0, 0, 1), Key(0, 0, 3), Key(0, 1, 1), Key(1, 0, 1), Key(1, 0, 3)]


def test_a_resize_orders_only_what_is_not_under_way():
    plan = PrefetchPlan(lambda _shard: 100)
    plan.assign([0, 1], epoch=0, step=0)
    keys(plan, 4)
    plan.assign([1, 2], epoch=0, step=1)
    assert keys(plan, 4) == [Key(0, 1, 2), Key(0, 2, 1), Key(0, 2, 2), Key(0, 3, 1)]
    assert plan.idle_head()
    assert plan.arrived() == Key(0, 0, 0)


def test_inheriting_within_a_step_does_not_repeat_what_was_taken():
    plan = PrefetchPlan(lambda _shard: 100)
    plan.assign([0, 1], epoch=0, step=0)
    for key in keys(plan, 2):
        plan.arrived()
        plan.take(key)
    plan.assign([0, 1, 2], epoch=0, step=0)
    assert keys(plan, 2) == [Key(0, 0, 2), Key(0, 1, 0)]


def test_running_through_the_loader_again_starts_over():
    plan = PrefetchPlan(lambda _shard: 3)
    plan.assign([0], epoch=0, step=0)
    for key in keys(plan, 3):
        plan.arrived()
        plan.take(key)
    plan.assign([0], epoch=0, step=0)
    assert plan.next_order() == Key(0, 0, 0)


def test_streams_end_where_the_data_says():
    plan = PrefetchPlan(lambda _shard: None)
    plan.assign([0, 1], epoch=0, step=0)
    assert keys(plan, 4)[-1] == Key(0, 1, 1)
    plan.ended(Key(0, 1, 0))
    assert keys(plan, 2) == [Key(0, 2, 1), Key(0, 3, 1)]
    plan.ended(Key(0, 3, 1))
    assert keys(plan, 2) == [Key(1, 0, 0), Key(1, 0, 1)]


def test_nothing_to_do_gives_bubbles():
    plan = PrefetchPlan(lambda _shard: 5)
    assert plan.next_order() is None
    assert plan.idle_head()
    plan.assign([], epoch=0, step=0)
    assert plan.next_order() is None
    empty = PrefetchPlan(lambda _shard: 0)
    empty.assign([0, 1], epoch=0, step=0)
    assert empty.next_order() is None


@given(st.lists(st.sets(st.integers(0, 9)), max_size=8), st.integers(1, 4))
def test_shards_keep_their_lane_and_new_ones_even_it_out(history, lanes):
    current = {}
    for shards in history:
        after = spread(sorted(shards), lanes, current)
        assert set(after) == shards
        assert all(0 <= lane < lanes for lane in after.values())
        assert all(after[shard] == lane for shard, lane in current.items() if shard in shards)
        if not set(current) & shards:
            load = [list(after.values()).count(lane) for lane in range(lanes)]
            assert max(load) - min(load) <= 1
        current = after


class PlanMachine(RuleBasedStateMachine):
    """A window of orders, as DataLoader keeps it, under random resizes, and training that takes everything in turn."""

    def __init__(self):
        super().__init__()
        self.ends = {}
        self.plan = PrefetchPlan(lambda shard: self.ends[shard])
        self.held = set()
        self.at = (0, 0)
        self.left = []
        self.done = set()
        self.here = set()

    @initialize(steps=st.integers(1, 4), short=st.integers(0, SHARDS - 1), shards=st.sets(st.integers(0, SHARDS - 1)))
    def begin(self, steps, short, shards):
        self.steps = steps
        self.ends = {shard: steps - (shard >= short and shard > 0) for shard in range(SHARDS)}
        self.resize(shards)
        for _ in range(4):
            self.order()

    def order(self):
        key = self.plan.next_order()
        if key is not None:
            assert key.shard in self.held
            assert key.step < self.ends[key.shard]
            assert key[:2] >= self.at
            assert key not in self.here
            assert list(self.plan.under_way).count(key) == 1, "ordered again while under way"
            candidates = [
                Key(*self.at, shard)
                for shard in sorted(self.held)
                if Key(*self.at, shard) in self.left
                and Key(*self.at, shard) not in self.here
                and Key(*self.at, shard) not in self.plan.under_way
            ]
            assert not candidates or key < candidates[0], "something more urgent was passed over"
        return key

    def receive(self):
        key = self.plan.arrived()
        if key is not None and self.plan.is_of_use(key):
            self.here.add(key)
        self.order()

    @rule(shards=st.sets(st.integers(0, SHARDS - 1)))
    def resize(self, shards):
        self.held = shards
        self.plan.assign(sorted(shards), epoch=self.at[0], step=self.at[1])
        now = [Key(*self.at, shard) for shard in sorted(shards) if self.at[1] < self.ends[shard]]
        self.left = [key for key in now if key not in self.done]
        self.here = {key for key in self.here if self.plan.is_of_use(key)}

    @precondition(lambda self: self.left)
    @rule()
    def train(self):
        key = self.left.pop(0)
        self.done.add(key)
        while self.plan.is_coming(key) and key not in self.here:
            self.receive()
        self.here.discard(key)
        self.plan.take(key)
        for _ in self.plan.under_way:
            if not self.plan.idle_head():
                break
            self.receive()
        self.here = {kept for kept in self.here if self.plan.is_of_use(kept)}
        if not self.left:
            epoch, step = self.at
            self.at = (epoch, step + 1) if step + 1 < self.steps else (epoch + 1, 0)
            self.resize(self.held)

    @invariant()
    def the_window_is_constant_and_the_store_is_small(self):
        assert len(self.plan.under_way) in (0, 4)
        assert len(self.here) <= 4 + SHARDS


PlanMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestPlanMachine = PlanMachine.TestCase
