"""Dealing by speed: fewer shards for a slow worker, and the same bits."""

from itertools import pairwise

import pytest

MODULE = "scenarios_pace"


def crew_of(crew_results, name, size):
    """What each rank found; all have the bits of one worker alone."""
    (alone,) = crew_results(MODULE, 1)
    assert alone[name][0] == "ok", alone[name][1]
    found = []
    for rank, each in enumerate(crew_results(MODULE, size)):
        assert each[name][0] == "ok", f"rank {rank} of {size}: {each[name][1]}"
        assert each[name][1]["bits"] == alone[name][1]["bits"], f"rank {rank} of {size}"
        found.append(each[name][1]["counts"])
    return list(zip(*found, strict=True))


@pytest.mark.parametrize(("size", "even", "by_speed"), [(2, (4, 4), (6, 2)), (3, (3, 3, 2), (4, 1, 3))])
def test_a_slow_worker_gets_less_until_it_recovers(crew_results, size, even, by_speed):
    deals = crew_of(crew_results, "a_worker_is_slow_for_a_while", size)
    assert deals[:13] == [even] * 13, "before it is slow, and until that is sure"
    assert deals[24] == deals[30] == by_speed
    assert deals[-1] == even
    assert sum(one != other for one, other in pairwise(deals)) == 2


@pytest.mark.parametrize("name", ["loader_processes_follow_the_deal", "streams_move_to_faster_workers"])
@pytest.mark.parametrize(("size", "by_speed"), [(2, (6, 2)), (3, (4, 1, 3))])
def test_data_follows_the_deal(crew_results, name, size, by_speed):
    assert crew_of(crew_results, name, size)[-1] == by_speed


@pytest.mark.parametrize(("size", "by_speed"), [(2, (3, 0)), (3, (2, 0, 1))])
def test_a_member_may_have_no_shard(crew_results, size, by_speed):
    assert crew_of(crew_results, "a_very_slow_worker_has_no_shard_at_all", size)[-1] == by_speed
