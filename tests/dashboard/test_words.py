"""Numbers and events as texts."""

import msgspec
import pytest
from dashboard_samples import SERVED, STALE, STATUS, event

from pliant.dashboard.words import (
    cost,
    count,
    is_over,
    main_worker,
    progress,
    ranges,
    rate,
    remaining_s,
    seconds,
    server_held,
    size,
    training_workers,
    workers_change,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 ms"),
        (0.0364, "36 ms"),
        (0.9996, "1.00 s"),
        (1.234, "1.23 s"),
        (12.34, "12.3 s"),
        (59.99, "60.0 s"),
        (185, "3 min 05 s"),
        (3599.6, "1 h 00 min"),
        (7385, "2 h 03 min"),
    ],
)
def test_seconds(value, text):
    assert seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (812, "812 B"), (14_200_000, "14.2 MB"), (2_000_000_000_000, "2 TB"), (1500, "1.5 kB")],
)
def test_size(value, text):
    assert size(value) == text


def test_count_ranges_and_rate():
    assert (count(1, "worker"), count(1234, "worker")) == ("1 worker", "1,234 workers")
    assert ranges([3, 0, 1, 2, 6]) == "0-3, 6"
    assert ranges([]) == ""
    assert (rate(14.23), rate(0.25), rate(0.0)) == ("14.2 steps/s", "4.0 s/step", "0.0 steps/s")


def test_cost_tells_what_is_known():
    assert cost(event()) == ""
    assert cost(event(stall_s=0.0001)) == "no stall"
    known = event(stall_s=0.031, shards_recomputed=1, bytes_moved=1400)
    assert cost(known) == "stalled 31 ms, 1 shard recomputed, 1.4 kB moved"


def test_workers_change():
    assert workers_change(event(workers_before=3, workers_after=2)) == "3 → 2"
    assert workers_change(event(workers_before=3)) == ""


def test_progress_line():
    assert progress(STATUS) == "step 1,234/5,000 · epoch 2/10 · 14.2 steps/s · loss 1.8312 · 2 workers"


def test_members_by_rank_and_the_main_worker():
    assert [worker.worker for worker in training_workers(STATUS)] == ["w1", "w3"]
    assert main_worker(STATUS) == "w1"
    assert main_worker(msgspec.structs.replace(STATUS, workers=[])) is None


def test_remaining_and_over():
    assert remaining_s(STATUS) == pytest.approx((5000 - 1234) / 14.23)
    assert remaining_s(msgspec.structs.replace(STATUS, total_steps=None)) is None
    assert not is_over(STATUS)
    assert is_over(msgspec.structs.replace(STATUS, state="stopped"))


def test_the_mode_ends_the_progress_line():
    assert progress(STALE).endswith("2 servers · at most 4 steps apart, staleness 1.8")
    assert progress(SERVED).endswith("2 servers")


def test_nouns_that_take_no_s():
    assert (count(1, "push", "pushes"), count(2000, "push", "pushes")) == ("1 push", "2,000 pushes")


def test_what_a_server_holds_of_its_limit():
    server = SERVED.servers[0]
    assert server_held(server) == "12.3 MB"
    assert server_held(msgspec.structs.replace(server, limit_bytes=64_000_000)) == "12.3 MB of 64 MB"
