"""Where members of a new group stand, and what each does next."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pliant.errors import ProtocolError
from pliant.ids import WorkerId
from pliant.membership.sync_plan import SyncReport, plan_sync


def report(rank: int, passes: int = 5, *, full: bool = False, held: tuple[int, ...] = (), stateful: bool = True):
    return SyncReport(WorkerId(f"w{rank + 1}"), rank, stateful=stateful, passes_done=passes, full=full, held=held)


def newcomer(rank: int):
    return report(rank, 0, stateful=False)


def test_founding_takes_rank_0_as_the_source_and_deals_everything():
    plan = plan_sync([newcomer(1), newcomer(0)], shards=5, founding=True)
    assert (plan.sources, plan.newcomers, plan.commit, plan.in_flight) == ((0,), (1,), (), 0)
    assert plan.deal == ((0, 1, 2), (3, 4))
    assert plan.keep == ((), ())


def test_one_behind_and_full_commits():
    plan = plan_sync([report(0, 6, held=(2,)), report(1, 5, full=True, held=(0, 1))], shards=3)
    assert (plan.commit, plan.in_flight) == ((1,), 6)
    assert plan.keep == ((2,), ())
    assert plan.deal == ((0,), (1,))


def test_all_full_and_level_commit_together():
    plan = plan_sync([report(0, full=True, held=(0,)), report(1, full=True, held=(1,))], shards=2)
    assert (plan.commit, plan.in_flight, plan.keep, plan.deal) == ((0, 1), 6, ((), ()), ((0,), (1,)))


def test_some_full_and_level_finish_the_pass_again():
    plan = plan_sync([report(0, full=True, held=(0, 1)), report(1, held=(2,))], shards=6)
    assert (plan.commit, plan.in_flight) == ((), 5)
    assert plan.keep == ((0, 1), (2,))
    assert plan.deal == ((3,), (4, 5))


def test_a_shard_held_twice_counts_at_the_lowest_rank():
    plan = plan_sync([report(0, held=(1, 2)), report(1, held=(2, 3))], shards=4)
    assert plan.keep == ((1, 2), (3,))
    assert plan.deal == ((), (0,))


def test_what_a_newcomer_holds_never_counts():
    stray = SyncReport(WorkerId("w2"), 1, stateful=False, passes_done=9, full=True, held=(0, 1, 2, 3))
    plan = plan_sync([report(0), stray], shards=4)
    assert (plan.in_flight, plan.newcomers, plan.deal) == (5, (1,), ((0, 1), (2, 3)))


def test_newcomers_can_be_spared_the_first_pass():
    plan = plan_sync([report(0), newcomer(1)], shards=4, at_boundary=True, newcomers_share=False)
    assert plan.deal == ((0, 1, 2, 3), ())


@pytest.mark.parametrize(
    ("reports", "what"),
    [
        ([report(0, 6), report(1, 5)], "w2 cannot catch up"),
        ([report(0, 7), report(1, 5, full=True)], "w2 cannot catch up"),
        ([newcomer(0), newcomer(1)], "no member"),
        ([report(0), report(0)], "ranks"),
        ([], "ranks"),
        ([report(0, held=(9,))], "holds the shards"),
    ],
)
def test_contradictions_are_refused(reports, what):
    with pytest.raises(ProtocolError, match=what):
        plan_sync(reports, shards=4)


@pytest.mark.parametrize("odd", [report(1, full=True), report(1, held=(1,)), report(1, 4, full=True)])
def test_a_switch_inside_a_pass_is_refused(odd):
    with pytest.raises(ProtocolError, match="inside a pass"):
        plan_sync([report(0), odd], shards=4, at_boundary=True)


@given(seed=st.integers(0, 2**32), ranks=st.integers(1, 9), shards=st.integers(1, 40))
def test_every_shard_is_counted_once_evenly_and_the_same_for_all(seed, ranks, shards):
    rng = random.Random(seed)
    reports = [
        report(
            rank,
            *((6,) if rng.random() < 0.5 or rank == 0 else (5,)),
            held=tuple(rng.sample(range(shards), rng.randint(0, shards))),
        )
        for rank in range(ranks)
    ]
    reports = [
        SyncReport(r.worker, r.rank, stateful=True, passes_done=r.passes_done, full=r.passes_done == 5, held=r.held)
        for r in reports
    ]
    plan = plan_sync(reports, shards=shards)
    shuffled = rng.sample(reports, len(reports))
    assert plan_sync(shuffled, shards=shards) == plan
    counted = [shard for part in (*plan.keep, *plan.deal) for shard in part]
    assert sorted(counted) == list(range(shards))
    totals = [len(keep) + len(deal) for keep, deal in zip(plan.keep, plan.deal, strict=True)]
    dealt = [total for total, deal in zip(totals, plan.deal, strict=True) if deal]
    assert all(max(dealt) - total <= 1 for total in totals if dealt)
