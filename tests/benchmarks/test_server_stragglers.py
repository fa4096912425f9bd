"""One slow worker under parameter servers: what is read out of reports, what counts as met, and that a run works."""

from __future__ import annotations

from dataclasses import replace

import pytest
from benchmarks.servers import aims, straggler
from benchmarks.servers.straggler_accounts import MODES, ahead, run_of, staleness_text, stragglers_table
from server_measurements import event, report_of, straggler_run

SLOWED = [event(1, "plan_signal", step=20, time_s=2.0)]


def times_of(steps: int, *, slow_at: int) -> list[float]:
    """A commit each 0.1 s, and each 0.5 s after ``slow_at`` steps."""
    return [0.1 * min(step, slow_at) + 0.5 * max(0, step - slow_at) for step in range(steps)]


def met(runs) -> list[bool]:
    return [verdict[2] for verdict in aims.of_stragglers(runs)]


def test_rates_are_those_before_and_well_after_the_event():
    losses = [2.0] * 50 + [0.4, None, *[0.5] * 8]
    report = report_of(SLOWED, times_of(60, slow_at=25), samples=6000, losses=losses, pushes_by_staleness={0: 5, 2: 1})
    run = run_of(report, mode="free", number=1, settled=10, samples=100)
    assert run.rate_before == pytest.approx(1000)
    assert run.rate == pytest.approx(200)
    assert run.loss == pytest.approx((0.4 + 8 * 0.5) / 9)
    assert (run.samples, run.expected, run.staleness) == (6000, 6000, {0: 5, 2: 1})


def test_a_run_whose_worker_was_not_slowed_down_in_time_is_an_error():
    with pytest.raises(RuntimeError, match="no worker was slowed down"):
        run_of(report_of([], times_of(60, slow_at=25)), mode="even", number=0, settled=10, samples=1)
    with pytest.raises(RuntimeError, match="slowed down at step 20 of 32: nothing is left"):
        run_of(report_of(SLOWED, times_of(32, slow_at=25)), mode="even", number=0, settled=10, samples=1)


def test_ratios_are_those_of_one_round():
    runs = [straggler_run("even", rate=50), straggler_run("free", rate=100), straggler_run("free", number=1, rate=900)]
    found = ahead(runs, "free", "even")
    assert found is not None
    assert (found.median, found.count) == (2.0, 1)
    assert ahead(runs, "free", "speed") is None


def test_samples_that_are_missing_or_fewer_a_second_miss_the_aim():
    slow, fast = straggler_run("even", rate=50), straggler_run("speed", rate=90)
    assert met([slow, fast, straggler_run("free", rate=100)]) == [True, True]
    assert met([slow, fast, straggler_run("free", rate=80)]) == [True, False]
    assert met([slow, fast, straggler_run("free", rate=100, samples=899)]) == [False, True]
    assert met([]) == []


def test_staleness_in_words():
    assert staleness_text({}) == "0"
    assert staleness_text({1: 990, 3: 9, 40: 1}) == "1.1 on average, 99 % at most 1, never over 40"
    assert staleness_text({0: 1, 2: 1}) == "1.0 on average, 99 % at most 2, never over 2"


def test_a_line_for_each_way_to_train():
    runs = [straggler_run("even", rate=50), straggler_run("free", rate=100, staleness={0: 1, 2: 1})]
    lines = stragglers_table(runs).splitlines()
    assert len(lines) == 4
    assert lines[3] == (
        "| `--staleness none` | 1 | 200 (200-200) | 100 (100-100) | 2.00 (2.00-2.00) |  | 1.500 (1.500-1.500) | "
        "1.0 on average, 99 % at most 2, never over 2 |"
    )


def test_every_round_has_all_ways_to_train_in_turned_order():
    modes = [[trial.mode for trial in straggler.trials(quick=False) if trial.number == number] for number in range(2)]
    assert modes[0] == list(MODES)
    assert modes[1] == list(reversed(MODES))


@pytest.mark.few(0)
@pytest.mark.slow
def test_a_worker_is_slowed_down_in_a_real_run():
    trial = replace(straggler.Trial("speed", 0), steps=24, slow_at=7, settled=6, per_shard=2)
    run = straggler.measure(trial)
    assert run.samples == run.expected == 24 * 12 * 2
    assert run.staleness == {}
    assert run.rate > 0
