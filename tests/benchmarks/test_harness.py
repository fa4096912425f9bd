"""The harness around the measurements: taking turns, the plan of changes, the written tables."""

from __future__ import annotations

import threading

import msgspec
import pytest
from benchmarks.checkpoints import CheckpointResult
from benchmarks.page import this_machine
from benchmarks.results import Results, markdown, write
from benchmarks.spread import spread
from benchmarks.steps import StepResult, cases
from benchmarks.turns import Gate, Turnstile

from benchmarks import deciders, membership, stragglers
from pliant.cli.plan_file import parse_plan
from pliant.wire.api import Event, Report


def test_spread_is_median_and_quartiles():
    found = spread([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (found.low, found.median, found.high, found.count) == (2.0, 3.0, 4.0, 5)
    assert spread([7.0]).text() == "7.00 (7.00-7.00)"


def test_a_job_trains_only_in_its_turn(tmp_path):
    gate = Gate(tmp_path, "job")
    steps = []

    def train() -> None:
        turnstile = Turnstile(str(tmp_path), "job", warm_up=2, turn_steps=3)
        for step in range(5):
            steps.append(step)
            turnstile.step_done()

    thread = threading.Thread(target=train, daemon=True)
    thread.start()
    assert len(gate.times_s() or []) == 1  # two steps of warm-up: one gap
    assert steps == [0, 1]
    gate.open()
    assert len(gate.times_s() or []) == 3
    assert steps == [0, 1, 2, 3, 4]
    gate.open()
    thread.join(10)
    assert not thread.is_alive()
    gate.close()


def test_every_case_deals_its_shards_evenly():
    for case in [*cases(quick=False), *cases(quick=True)]:
        assert case.shards == case.shards_each * case.workers


def test_the_plan_of_changes_is_one_that_pliant_accepts():
    events, problems = parse_plan(membership.PLAN, name="plan", bounds=(1, 3))
    assert problems == []
    assert len(events) == 3


def test_the_plan_of_stragglers_is_one_that_pliant_accepts():
    for workers in (2, 3):
        events, problems = parse_plan(stragglers.PLAN, name="plan", bounds=(workers, workers))
        assert (len(events), problems) == (1, [])
        assert stragglers.ideal_ratio(workers) == 1.5


def event(seq: int, kind: str, *, step: int, time_s: float, before: int, after: int, stall_s: float = 0.02) -> Event:
    return Event(
        seq, time_s, "job", kind, step, "", before, after, stall_s=stall_s, shards_recomputed=2, bytes_moved=10
    )


def report_of(events: list[Event]) -> Report:
    return Report(
        name="job",
        state="finished",
        script="s.py",
        steps=90,
        samples=540,
        wall_s=9.0,
        median_step_s=0.1,
        goodput=1.0,
        final_loss=1.0,
        weights_sha256="0" * 64,
        events=events,
        commit_times_s=[0.1 * step for step in range(90)],
        losses=[1.0] * 90,
        workers_over_time=[(0.0, 2)],
    )


def test_costs_come_from_the_report():
    events = [
        event(1, "scale_requested", step=15, time_s=100.0, before=2, after=3),
        event(2, "workers_joined", step=18, time_s=100.5, before=2, after=3),
        event(3, "worker_lost", step=40, time_s=103.0, before=3, after=2),
        event(4, "worker_left", step=66, time_s=106.0, before=3, after=2),
    ]
    grow, kill, leave = membership.costs_of(report_of(events))
    assert grow.command_to_joined_s == pytest.approx(0.5)
    assert grow.aim_s == pytest.approx(0.2)
    assert kill.aim_s == pytest.approx(0.15)  # two shards over two survivors, each of whom has two: half a step
    assert leave.aim_s == pytest.approx(0.05)


def test_a_report_without_the_event_is_an_error():
    with pytest.raises(RuntimeError, match="no event 'scale_requested'"):
        membership.costs_of(report_of([]))


def test_results_are_written_for_readers_and_programs(tmp_path):
    one = spread([0.1, 0.2])
    result = StepResult("group", "gpt", 2, 4, "128 tokens", "accumulate", one, one, spread([1.0]), 10**8, 9 * 10**7)
    kept = CheckpointResult("gpt", 2, every=20, checkpoint_bytes=10**8, with_s=one, without_s=one, ratio=spread([1.01]))
    results = Results("2000-01-01", quick=True, machine=this_machine(), steps=[result], checkpoints=[kept])
    page = write(results, tmp_path)
    assert "| gpt | 2 | 4 | 128 tokens | accumulate |" in page.read_text()
    assert msgspec.json.decode((tmp_path / "2000-01-01-quick.json").read_bytes(), type=Results) == results
    assert "+10" in markdown(results)
    assert "| gpt | 2 | 20 steps | 100 |" in markdown(results)


def test_the_deciders_are_played_through_whole_changes(monkeypatch):
    """The cases themselves check that everybody is in the generation at the end."""
    monkeypatch.setattr(deciders, "MEMBERS", 12)
    results = deciders.measure(repeats=2)
    assert [(r.part, r.what) for r in results[:3]] == [("membership", x) for x in ("founding", "a death", "a join")]
    assert [r.part for r in results].count("coordinator") == 3
    assert {r.cpu_s.count for r in results} == {2}
    assert "first exchange after a death" in markdown(Results("2026-01-01", True, this_machine(), deciders=results))
