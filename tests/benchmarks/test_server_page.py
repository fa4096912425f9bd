"""The page of the comparison of parameter servers: made of parts that were measured at different times."""

from __future__ import annotations

import msgspec
import pytest
from benchmarks.page import this_machine
from benchmarks.servers import __main__ as command
from benchmarks.servers import crossover
from benchmarks.servers.accounts import TableResult
from benchmarks.servers.parts import Task, tasks
from benchmarks.servers.results import PARTS, PartResults, markdown, write_page, write_part
from server_measurements import ONE, change, straggler_run, strategy


def part(name: str, measured: str = "2026-01-02 05:40", **found) -> PartResults:
    return PartResults(name, measured, False, this_machine(), **found)


def test_the_page_is_made_of_the_newest_of_each_part(tmp_path):
    write_part(part("tables", "2026-01-01 04:00", tables=[TableResult("a", "Old", 1, 1, 1.0, ONE, {})]), tmp_path)
    write_part(part("tables", "2026-01-02 04:00", tables=[TableResult("a", "New", 1, 1, 1.0, ONE, {})]), tmp_path)
    write_part(part("recovery", "2026-01-03 06:00", changes=[change("kill")]), tmp_path)
    page = write_page(tmp_path, quick=False)
    assert page == tmp_path / "2026-01-03-servers.md"
    text = page.read_text()
    assert "| tables | 2026-01-02 04:00 |" in text
    assert "| recovery | 2026-01-03 06:00 |" in text
    assert "| New | 1 |" in text
    assert "| Old | 1 |" not in text
    assert "## One of three workers" not in text
    assert write_page(tmp_path, quick=True) is None


def test_a_file_that_cannot_be_read_is_told_and_left_out(tmp_path, capsys):
    write_part(part("recovery", changes=[change("kill")]), tmp_path)
    (tmp_path / "2026-01-02-servers-dense.json").write_text('{"part": "dense"}')
    page = write_page(tmp_path, quick=False)
    assert page is not None
    assert "--parts dense" in capsys.readouterr().err
    assert "| dense |" not in page.read_text()


def test_nothing_measured_does_not_take_the_place_of_something(tmp_path):
    good = part("recovery", changes=[change("kill")])
    write_part(good, tmp_path)
    write_part(part("recovery", problems={"mlp": "RuntimeError: no"}), tmp_path)
    (path,) = tmp_path.iterdir()
    assert msgspec.json.decode(path.read_bytes(), type=PartResults) == good


def test_all_that_was_measured_is_on_the_page():
    crowd = strategy(4, 2, over=0.9, group="workers")
    dense = [strategy(2, 0), strategy(2, 2, over=1.5), strategy(2, 2, over=1.02, group="computing", samples=512), crowd]
    text = markdown(
        [
            part("dense", dense=dense, notes=["Something else ran."], problems={"huge": "RuntimeError: no"}),
            part("tables", tables=[TableResult("pliant-1", "Pliant", 100, 10, 5.0, ONE, {})]),
            part("recovery", changes=[change("kill"), change("add", 3, slot_copies=32, moved=0.25)]),
            part("async", stragglers=[straggler_run("even"), straggler_run("free", staleness={1: 3})]),
        ]
    )
    for line in (
        "| wide | 2 | 2 servers, 2 copies | 8 x 8 samples | 1000.0 (1000.0-1000.0) | 1.50 (1.50-1.50) |",
        "| wide | 2 | all-reduce | 500 / 500 / 500 / 500 | 170 |  |",
        "* dense: huge: RuntimeError: no",
        "| Something else ran. |",
        "| wide | SIGKILL, one of 2 | 1 |",
        "| 32 | 0.250 (0.250-0.250) | 1/4 = 0.250 |",
        "| Pliant | 100 | 10 | 5 | 1000.0 (1000.0-1000.0) | 10 |",
        "| `--staleness none` | 1 |",
        "* wide, 2 servers, 2 copies: as fast as all-reduce, or faster, at 4 workers; slower: 1.50 times at 2",
    ):
        assert line in text


def test_from_how_much_computing_on_a_step_is_as_fast():
    fast, slow = (strategy(2, 2, over=over, group="computing", samples=n) for over, n in ((1.05, 512), (1.06, 64)))
    assert crossover.by_computing([fast, slow]) == (
        "* wide (10.0 million parameters): as fast as all-reduce, or faster, at 512 rows or tokens a step; "
        "slower: 1.06 times at 64"
    )
    assert crossover.by_computing([slow]) == (
        "* wide (10.0 million parameters): nowhere as fast; slower: 1.06 times at 64 rows or tokens a step"
    )
    plain = strategy(2, 0, group="computing", samples=64)
    assert (
        "| wide | 10.0 million | 64 | 3.8 | 1000.0 (1000.0-1000.0) | 1000.0 (1000.0-1000.0) | 1.06 (1.06-1.06) | no |"
        in crossover.computing_table([plain, slow])
    )


def test_a_task_that_fails_is_noted_and_the_others_go_on(capsys):
    def fails(results):
        raise RuntimeError("no")

    def works(results):
        results.changes.append(change("kill"))
        return "well"

    found = part("recovery")
    command.measure(found, [Task("one", fails), Task("two", works)])
    assert found.problems == {"one": "RuntimeError: no"}
    assert len(found.changes) == 1
    assert "recovery 2/2: two" in capsys.readouterr().out


def test_what_was_measured_before_an_interruption_says_so():
    def works(results):
        results.changes.append(change("kill"))
        return "well"

    def interrupted(results):
        raise KeyboardInterrupt

    found = part("recovery")
    with pytest.raises(KeyboardInterrupt):
        command.measure(found, [Task("one", works), Task("two", interrupted), Task("three", works)])
    assert found.problems == {"the rest": "the measurement was interrupted in 2 of 3, two"}


def test_parts_are_asked_for_by_name(capsys):
    assert command.arguments(["--parts", "async,dense"]).parts == ("dense", "async")
    assert command.arguments([]).parts == PARTS
    with pytest.raises(SystemExit):
        command.arguments(["--parts", "dense,tablets"])
    assert "tablets is none of the parts" in capsys.readouterr().err


def test_every_part_has_something_to_do():
    for name in PARTS:
        assert 0 < len(tasks(name, quick=True)) <= len(tasks(name, quick=False))
