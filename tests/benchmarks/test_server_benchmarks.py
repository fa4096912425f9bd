"""The comparison of parameter servers: what is read out of reports, what counts as met, and that the harness works."""

from __future__ import annotations

import subprocess

import msgspec
import pytest
from benchmarks.page import this_machine
from benchmarks.servers import aims, contest, dense, jobs, lookups, recovery
from benchmarks.servers.accounts import DenseResult, Footprint, ServerChange, TableResult, changes_of, longest_s
from benchmarks.servers.results import ServersResults, markdown, write
from benchmarks.spread import spread

from pliant.wire.api import Event, Report

ONE = spread([1.0])
MB = 1_000_000


def footprint(megabytes: float) -> Footprint:
    return Footprint(int(megabytes * MB), int(megabytes * MB), int(megabytes * MB))


def strategy(
    workers: int, servers: int, *, over: float | None = None, pss: float = 500, sha: str = "a", group="strategies"
):
    found = None if over is None else spread([over])
    server = footprint(300) if servers else None
    what = (group, "wide", 10 * MB, workers, servers, servers, "8 x 8 samples")
    return DenseResult(*what, ONE, found, None, footprint(pss), server, sha)


def change(what: str, *, stall_s: float = 0.01, slot_copies: int = 0) -> ServerChange:
    return ServerChange("wide", what, 0.05, stall_s, 0.0, 0.5, 40 * MB, slot_copies, 120 * MB)


def verdicts(*, dense=(), changes=(), tables=()) -> dict[str, bool]:
    """Aim -> met, of those that this says something about."""
    lines = aims.table(dense, changes, tables).splitlines()[2:]
    return {line.split(" | ")[0].removeprefix("| "): line.endswith(" yes |") for line in lines}


def event(seq: int, kind: str, *, step: int, time_s: float, message: str = "", **more) -> Event:
    return Event(seq, time_s, "job", kind, step, message, **more)


def report_of(events: list[Event], times_s: list[float]) -> Report:
    return Report(
        name="job",
        state="finished",
        script="s.py",
        steps=len(times_s),
        samples=1,
        wall_s=times_s[-1],
        median_step_s=0.1,
        goodput=1.0,
        final_loss=1.0,
        weights_sha256="0" * 64,
        events=events,
        commit_times_s=times_s,
        losses=[1.0] * len(times_s),
        workers_over_time=[(0.0, 2)],
    )


def times_with_gap(at: int, gap_s: float) -> list[float]:
    """A hundred commits 0.1 s apart, but for one that comes later."""
    return [0.1 * step + (gap_s if step >= at else 0.0) for step in range(100)]


def test_the_longest_gap_is_that_of_the_steps_asked_for():
    times_s = times_with_gap(40, 0.5)
    assert longest_s(times_s, 38, 42) == pytest.approx(0.5)
    assert longest_s(times_s, 41, 60) == pytest.approx(0.0)
    assert longest_s(times_s, 20, 39) == pytest.approx(0.0)


def test_deaths_and_additions_come_from_the_report():
    events = [
        event(1, "server_lost", step=30, time_s=10.0, stall_s=0.02),
        event(2, "servers_joined", step=33, time_s=10.3, message="s3 joined: 2 servers; it got 64 slots in 0.1 s"),
        event(3, "slots_restored", step=34, time_s=10.4, bytes_moved=100),
        event(4, "scale_requested", step=60, time_s=13.0, message="3 servers are wanted by the plan (x = 9); so far 2"),
        event(5, "servers_joined", step=64, time_s=13.6, message="s4 joined: it got 43 slots in 0.4 s", bytes_moved=70),
        event(6, "scale_requested", step=80, time_s=15.0, message="2 servers are wanted by the plan (x = 9); so far 3"),
        event(7, "server_left", step=84, time_s=15.5),
    ]
    killed, added = changes_of(report_of(events, times_with_gap(62, 0.3)), model="wide", state_bytes=200)
    assert (killed.what, killed.stall_s, killed.bytes_moved, killed.slot_copies) == ("kill", 0.02, 100, 0)
    assert killed.seconds == pytest.approx(0.4)
    assert (added.what, added.bytes_moved, added.slot_copies) == ("add", 70, 43)
    assert added.stall_s == pytest.approx(0.3)
    assert added.calm_s == pytest.approx(0.0)
    assert added.seconds == pytest.approx(0.6)


def test_a_death_without_an_end_is_an_error():
    events = [event(1, "server_lost", step=30, time_s=10.0, stall_s=0.02)]
    with pytest.raises(RuntimeError, match="not followed by slots_restored"):
        changes_of(report_of(events, times_with_gap(0, 0.0)), model="wide", state_bytes=1)


def test_other_weights_or_state_that_stays_on_the_worker_miss_the_aim():
    good = [strategy(2, 0), strategy(2, 2, over=1.5, pss=420)]
    assert list(verdicts(dense=good).values()) == [True, True]
    assert list(verdicts(dense=[good[0], strategy(2, 2, pss=420, sha="b")]).values()) == [False, True]
    assert list(verdicts(dense=[good[0], strategy(2, 2, pss=470)]).values()) == [True, False]


def test_stalls_and_bounds_of_changes():
    good = [change("kill"), change("add", slot_copies=43)]
    assert list(verdicts(changes=good).values()) == [True, True, True]
    bad = [change("kill", stall_s=0.2), change("add", stall_s=0.2, slot_copies=44)]
    assert list(verdicts(changes=bad).values()) == [False, False, False]


def test_tables_are_judged_by_what_they_are_beside():
    def beside(system: str, ratio: float) -> bool:
        found = TableResult(system, system, 100, 10, 5.0, ONE, {"1 copy": spread([ratio])})
        (met,) = verdicts(tables=[found]).values()
        return met

    assert [beside("EmbeddingBag", 0.3), beside("EmbeddingBag", 0.4)] == [False, True]
    assert [beside("dict", 9.0), beside("dict", 11.0)] == [False, True]


def test_where_servers_are_slower_is_listed():
    cell = [strategy(2, 0), strategy(2, 1, over=0.9, group="crossover"), strategy(2, 2, over=1.5, group="crossover")]
    assert (
        aims.behind(cell)
        == "* wide, 2 workers, 2 servers, 2 copies: 1.50 (1.50-1.50) times the step of all-reduce with 2 workers"
    )
    assert aims.crossover(cell).splitlines() == [
        "* wide, 1 server, 1 copy: faster than all-reduce at 2 workers",
        "* wide, 2 servers, 2 copies: faster than all-reduce at none of 2 workers",
    ]
    assert aims.behind(cell[:2]) == "Nowhere in this run."


def test_the_page_is_written_for_readers_and_programs(tmp_path):
    results = ServersResults("2026-01-01", True, this_machine(), notes=["Something else ran."])
    results.dense = [strategy(2, 0), strategy(2, 2, over=1.5), strategy(2, 1, over=0.5, group="crossover")]
    results.changes = [change("kill"), change("add", slot_copies=43)]
    results.tables = [TableResult("pliant-1", "Pliant", 100, 10, 5.0, ONE, {})]
    results.problems = {"tables: 100 rows": "RuntimeError: no"}
    page = write(results, tmp_path)
    assert (
        "| wide | 2 | 2 servers, 2 copies | 8 x 8 samples | 1000.0 (1000.0-1000.0) | 1.50 (1.50-1.50) |"
        in page.read_text()
    )
    assert "* tables: 100 rows: RuntimeError: no" in markdown(results)
    assert "Something else ran." in markdown(results)
    assert "| wide | SIGKILL, one of 2 | 1 |" in markdown(results)
    assert "| Pliant | 100 | 10 | 5 | 1000.0 (1000.0-1000.0) | 10 |" in markdown(results)
    assert (
        msgspec.json.decode((tmp_path / "2026-01-01-servers-quick.json").read_bytes(), type=ServersResults) == results
    )


def test_every_case_has_all_reduce_on_the_same_workers_and_even_shards():
    for case in (*dense.cases(quick=True), *dense.cases(quick=False)):
        plain = {setup.workers for setup in case.setups if not setup.servers}
        assert {setup.workers for setup in case.setups} <= plain
        assert all(case.shards % workers == 0 for workers in plain)


def test_the_first_batches_of_ids_see_every_row():
    rows = lookups.BATCH + 100
    ids = lookups.Ids(rows, fill=lookups.fill_batches(rows), batches=5)
    seen = {int(row) for index in range(2) for row in ids[index]}
    assert len(seen) == rows
    later = ids[4]
    assert len(later) == lookups.BATCH
    assert 0 <= int(later.min()) <= int(later.max()) < rows
    assert (later < rows // 100).float().mean() > 0.5  # skewed


def test_a_contest_names_the_log_of_what_failed(tmp_path, capfd):
    def start(env, directory):
        (directory / "log").write_text("what went wrong")
        return [subprocess.Popen(["false"])]

    with pytest.raises(RuntimeError, match="exit code 1"):
        contest.contest([contest.Entry("system", start)], rounds=1)
    assert "--- system\nwhat went wrong" in capfd.readouterr().out


@pytest.mark.slow
def test_both_strategies_go_through_a_contest(monkeypatch):
    """The real jobs, in turns, to the same weights."""
    monkeypatch.setitem(dense.SIZES, "mlp", dense.Size(2, 0, 3))
    setups = (jobs.Setup(1), jobs.Setup(1, 2, 2))
    plain, served = dense.measure(dense.Case("strategies", "mlp", 4, setups, rounds=1))
    assert plain.sha256 == served.sha256 is not None
    assert plain.over_workers is None
    assert served.over_workers is not None
    assert served.server is not None
    assert served.server.pss_bytes > 8 * MB


@pytest.mark.slow
def test_servers_are_killed_and_added(monkeypatch):
    """A real job: each event is in its report, with its numbers."""
    monkeypatch.setitem(dense.SIZES, "mlp", dense.Size(2, 0, 3))
    monkeypatch.setattr(recovery, "WARM_UP", 3)
    killed, added = recovery.measure(recovery.Drill("mlp", repeats=1, calm_steps=3))
    assert (killed.what, added.what) == ("kill", "add")
    assert killed.bytes_moved > 0
    assert 0 < added.slot_copies <= 43
    assert added.bytes_moved < killed.bytes_moved
