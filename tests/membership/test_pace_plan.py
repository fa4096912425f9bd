"""When shards are dealt anew: by whom, how often, and that noise changes nothing."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pliant.membership.deal_plan import makespan_s
from pliant.membership.pace_plan import (
    KNOWN_AFTER,
    LEAST_GAIN,
    REST_PASSES,
    WINDOW,
    Dealer,
    PaceEstimate,
    filled,
    worth_it,
)


def told(dealer: Dealer, paces: list[float], *, passes: int = REST_PASSES, shards: int = 8) -> tuple[int, ...]:
    for _ in range(passes):
        dealer.heard(paces, shards=shards)
    return dealer.takes(shards)


class Crew:
    """Workers that measure themselves and deal by it, like a generation does."""

    def __init__(self, paces: list[float], *, shards: int = 8) -> None:
        self.paces, self.shards = paces, shards
        self.estimates = [PaceEstimate() for _ in paces]
        self.dealer = Dealer([0.0] * len(paces))
        self.deals: list[tuple[int, ...]] = []

    def train(self, passes: int, *, noise=lambda: 1.0) -> tuple[int, ...]:
        for _ in range(passes):
            takes = self.dealer.takes(self.shards)
            self.deals.append(takes)
            said = [estimate.pace for estimate in self.estimates]
            for take, pace, estimate in zip(takes, self.paces, self.estimates, strict=True):
                if take:
                    estimate.measured(pace * noise())
                else:
                    estimate.idle()
            self.dealer.heard(said, shards=self.shards)
        return self.dealer.takes(self.shards)

    @property
    def changes(self) -> int:
        return sum(one != other for one, other in zip(self.deals, self.deals[1:], strict=False))


def test_a_pace_is_the_median_and_unknown_at_first():
    estimate = PaceEstimate()
    for _ in range(KNOWN_AFTER - 1):
        estimate.measured(9.0)
        assert estimate.pace == 0.0
    estimate.measured(1.0)
    assert estimate.pace == 9.0
    for _ in range(WINDOW // 2 + 1):
        estimate.measured(2.0)
    assert estimate.pace == 2.0


def test_idle_workers_are_taken_for_faster_until_they_are_measured_again():
    estimate = PaceEstimate()
    estimate.idle()
    assert estimate.pace == 0.0
    for _ in range(WINDOW):
        estimate.measured(4.0)
    for _ in range(100):
        estimate.idle()
    assert estimate.pace == pytest.approx(2.0)
    estimate.measured(5.0)
    assert estimate.pace == 5.0


def test_unknown_paces_are_the_median_of_the_known_ones():
    assert filled([0.0, 1.0, 5.0, 2.0]) == (2.0, 1.0, 5.0, 2.0)
    assert filled([0.0, 0.0]) == (1.0, 1.0)
    assert filled([float("nan"), float("inf"), -1.0, 3.0]) == (3.0, 3.0, 3.0, 3.0)


def test_a_new_generation_deals_by_what_its_members_report():
    assert Dealer([0.0, 0.0, 0.0]).takes(8) == (3, 3, 2)
    assert Dealer([0.01, 0.03]).takes(8) == (6, 2)
    assert Dealer([0.01, 0.03, 0.0]).takes(8) == (5, 1, 2)
    assert Dealer([0.010, 0.011]).takes(8) == (4, 4)
    assert worth_it((0.010, 0.011), 8) == ()


def test_a_slow_worker_gets_less_and_an_even_deal_comes_back_when_it_recovers():
    crew = Crew([0.01, 0.01])
    assert crew.train(30) == (4, 4)
    crew.paces = [0.01, 0.03]
    assert crew.train(WINDOW + REST_PASSES) == (6, 2)
    crew.paces = [0.01, 0.01]
    assert crew.train(2 * (WINDOW + REST_PASSES)) == (4, 4)
    assert crew.changes <= 3


@pytest.mark.parametrize("paces", [[0.01] * 4, [0.01, 0.01, 0.012, 0.01], [0.0001, 0.0003]])
def test_noise_and_small_differences_change_no_deal(paces):
    rng = random.Random(7)
    crew = Crew(paces)
    even = crew.dealer.takes(8)
    assert crew.train(500, noise=lambda: rng.lognormvariate(0.0, 0.15)) == even
    assert crew.changes == 0


def test_a_deal_is_kept_until_it_has_been_measured():
    dealer = Dealer([0.0, 0.0])
    assert told(dealer, [0.01, 0.03], passes=REST_PASSES - 1) == (4, 4)
    assert told(dealer, [0.01, 0.03], passes=1) == (6, 2)
    assert told(dealer, [0.03, 0.01], passes=REST_PASSES - 1) == (6, 2)
    assert told(dealer, [0.03, 0.01], passes=1) == (2, 6)


def test_a_worker_without_shards_is_tried_again():
    crew = Crew([0.01, 0.03], shards=2)
    assert crew.train(20) == (2, 0)
    crew.paces = [0.01, 0.01]
    assert crew.train(300) == (1, 1)
    crew = Crew([0.01, 0.03], shards=2)
    crew.train(1000)
    tries = [deal for deal in crew.deals[20:] if deal == (1, 1)]
    assert 0 < len(tries) < 100, "tried again, and seldom enough"


def test_each_number_of_shards_has_its_deal():
    dealer = Dealer([0.0, 0.0])
    assert (dealer.takes(8), dealer.takes(3)) == ((4, 4), (2, 1))
    told(dealer, [0.01, 0.03])
    assert (dealer.takes(8), dealer.takes(3), dealer.takes(4)) == ((6, 2), (2, 1), (3, 1))


@given(
    paces=st.lists(st.one_of(st.just(0.0), st.floats(1e-4, 10.0)), min_size=1, max_size=9),
    before=st.lists(st.floats(1e-4, 10.0), min_size=9, max_size=9),
    shards=st.integers(1, 64),
)
def test_every_new_deal_keeps_its_promise(paces, before, shards):
    dealer = Dealer(before[: len(paces)])
    old = dealer.takes(shards)
    new = told(dealer, paces, shards=shards)
    assert sum(old) == sum(new) == shards
    if new != old:
        known = filled(paces)
        assert makespan_s(new, known) <= (1 - LEAST_GAIN) * makespan_s(old, known)


def test_members_that_did_not_ask_for_a_deal_have_the_same():
    one, other = Dealer([0.0, 0.0]), Dealer([0.0, 0.0])
    for _ in range(REST_PASSES):
        one.takes(8)
        for dealer in (one, other):
            dealer.heard([0.01, 0.03], shards=8)
    assert one.takes(8) == other.takes(8) == (6, 2)
