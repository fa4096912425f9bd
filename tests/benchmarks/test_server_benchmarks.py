"""The comparison of parameter servers: what is read out of reports, what counts as met, and that the harness works."""

from __future__ import annotations

import subprocess

import pytest
from benchmarks.servers import aims, contest, dense, jobs, lookups, recovery
from benchmarks.servers.accounts import TableResult, changes_of, longest_s
from benchmarks.spread import spread
from server_measurements import MB, ONE, change, event, report_of, strategy


def met(verdicts) -> list[bool]:
    """Of each aim that these say something about, in order."""
    return [line.endswith(" yes |") for line in aims.table(verdicts).splitlines()[2:]]


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
        event(6, "scale_requested", step=70, time_s=14.0, message="4 servers are wanted on request; so far 3"),
        event(7, "servers_joined", step=73, time_s=14.3, message="s5 joined: it got 32 slots in 0.2 s", bytes_moved=50),
        event(8, "scale_requested", step=80, time_s=15.0, message="2 servers are wanted by the plan (x = 9); so far 4"),
        event(9, "server_left", step=84, time_s=15.5),
        event(10, "scale_requested", step=90, time_s=16.0, message="3 workers are wanted on request; so far 2"),
    ]
    killed, added, more = changes_of(report_of(events, times_with_gap(62, 0.3)), model="wide", servers=2, state_bytes=9)
    assert (killed.what, killed.stall_s, killed.bytes_moved, killed.slot_copies) == ("kill", 0.02, 100, 0)
    assert [(found.what, found.servers) for found in (killed, added, more)] == [("kill", 2), ("add", 2), ("add", 3)]
    assert killed.seconds == pytest.approx(0.4)
    assert (added.what, added.bytes_moved, added.slot_copies) == ("add", 70, 43)
    assert added.stall_s == pytest.approx(0.3)
    assert added.calm_s == pytest.approx(0.0)
    assert added.seconds == pytest.approx(0.6)


def test_a_death_without_an_end_is_an_error():
    events = [event(1, "server_lost", step=30, time_s=10.0, stall_s=0.02)]
    with pytest.raises(RuntimeError, match="not followed by slots_restored"):
        changes_of(report_of(events, times_with_gap(0, 0.0)), model="wide", servers=2, state_bytes=1)


def test_other_weights_or_state_that_stays_on_the_worker_miss_the_aim():
    plain = strategy(2, 0)
    assert met(aims.of_strategies([plain, strategy(2, 2, over=1.5, pss=420)])) == [True, True]
    assert met(aims.of_strategies([plain, strategy(2, 2, pss=420, sha="b")])) == [False, True]
    assert met(aims.of_strategies([plain, strategy(2, 2, pss=470)])) == [True, False]


def test_stalls_and_bounds_of_changes():
    good = [change("kill"), change("add", slot_copies=43, moved=0.33), change("add", 3, slot_copies=32, moved=0.25)]
    assert met(aims.of_changes(good)) == [True] * 5
    assert met(aims.of_changes([change("kill", stall_s=0.2), change("add", stall_s=0.2, slot_copies=43)])) == [
        False,
        False,
        True,
    ]


def test_a_newcomer_is_sent_no_more_slots_and_no_more_bytes_than_its_part():
    def kept(servers: int, **found) -> bool:
        return met(aims.of_changes([change("add", servers, **found)]))[1]

    assert not kept(2, slot_copies=44, moved=0.33)
    assert not kept(2, slot_copies=43, moved=0.35)
    assert not kept(3, slot_copies=33, moved=0.25)
    assert not kept(3, slot_copies=32, moved=0.0)


def test_tables_are_judged_by_what_they_are_beside():
    def beside(system: str, ratio: float) -> list[bool]:
        found = TableResult(system, system, 100, 10, 5.0, ONE, {"1 copy": spread([ratio])})
        return met(aims.of_tables([found]))

    assert [beside("EmbeddingBag", 0.3), beside("EmbeddingBag", 0.4)] == [[False], [True]]
    assert [beside("dict", 9.0), beside("dict", 11.0)] == [[False], [True]]


def test_where_servers_are_slower_is_listed():
    cell = [strategy(2, 0), strategy(2, 1, over=0.9), strategy(2, 2, over=1.5)]
    assert aims.behind(cell) == (
        "* wide, 8 x 8 samples, 2 workers, 2 servers, 2 copies: "
        "1.50 (1.50-1.50) times the step of all-reduce with 2 workers"
    )
    assert aims.behind(cell[:2]) == "Nowhere in this run."


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


@pytest.mark.few(0)
@pytest.mark.slow
def test_both_strategies_go_through_a_contest():
    """The real jobs, in turns, to the same weights."""
    setups = (jobs.Setup(1), jobs.Setup(1, 2, 2))
    plain, served = dense.measure(dense.Case("strategies", "mlp", 4, dense.Size(2, 0, 3), setups, rounds=1))
    assert plain.sha256 == served.sha256 is not None
    assert plain.over_workers is None
    assert plain.beyond_bytes > 8 * MB  # gradients and AdamW's moments of a million parameters
    assert served.over_workers is not None
    assert served.server is not None
    assert served.server.pss_bytes > 8 * MB


@pytest.mark.few(0)
@pytest.mark.slow
def test_servers_are_killed_and_added(monkeypatch):
    """A real job: each event is in its report, with its numbers."""
    monkeypatch.setitem(dense.SIZES, "mlp", dense.Size(2, 0, 3))
    monkeypatch.setattr(recovery, "WARM_UP", 3)
    monkeypatch.setattr(recovery, "CYCLE", recovery.CYCLE[:2])
    killed, added, more = recovery.measure(recovery.Drill("mlp", kills=1, cycles=1, calm_steps=3))
    assert [(found.what, found.servers) for found in (killed, added, more)] == [("kill", 2), ("add", 2), ("add", 3)]
    assert killed.bytes_moved > 0
    assert 0 < added.slot_copies <= 43
    assert 0 < more.slot_copies <= 32
    assert more.bytes_moved < added.bytes_moved < killed.bytes_moved
