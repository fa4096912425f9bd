"""Plan files: what is read, and every mistake, all at once."""

import pytest

from pliant.cli.plan_file import parse_plan, read_plan
from pliant.control.spec_plan import check_spec
from pliant.wire.api import JobSpec, PlanEvent, SlowWorkers

BOUNDS = (1, 4)


def problems(text):
    return parse_plan(text, name="plan.toml", bounds=BOUNDS)[1]


def test_events_are_read_and_sorted_by_step():
    text = "[[event]]\nat_step = 20\nkill = 1\n[[event]]\nat_step = 10\nscale = 3\n[[event]]\nat_step = 30\nleave = 2\n"
    events, found = parse_plan(text, name="p", bounds=BOUNDS)
    assert found == []
    assert events == [PlanEvent(10, scale=3), PlanEvent(20, kill=1), PlanEvent(30, leave=2)]


def test_faults_of_all_kinds_are_read():
    text = """
[[event]]
at_step = 1
stop = 1
[[event]]
at_step = 2
kill_coordinator = true
[[event]]
at_step = 3
slow = { workers = 2, factor = 3 }
[[event]]
at_step = 4
partition = 1
"""
    events, found = parse_plan(text, name="p", bounds=BOUNDS)
    assert found == []
    assert events == [
        PlanEvent(1, stop=1),
        PlanEvent(2, kill_coordinator=True),
        PlanEvent(3, slow=SlowWorkers(2, 3.0)),
        PlanEvent(4, partition=1),
    ]
    check_spec(JobSpec("j", "train.py", max_workers=4, plan=events))


def test_events_of_one_step_keep_their_order():
    text = "[[event]]\nat_step = 5\nkill = 1\n[[event]]\nat_step = 5\nscale = 2\n"
    assert parse_plan(text, name="p", bounds=BOUNDS)[0] == [PlanEvent(5, kill=1), PlanEvent(5, scale=2)]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[[event]\n", ["plan plan.toml is not valid TOML", "line 1"]),
        ("at_step = 1\nscale = = 2", ["not valid TOML", "line 2"]),
        ("", ["has no [[event]]"]),
        ("[[events]]\nat_step = 1\n", ["unknown key 'events'", "did you mean 'event'?"]),
        ("[event]\nat_step = 1\nscale = 2\n", ["not a list of tables", "two brackets"]),
        ("event = [1]\n", ["not a list of tables"]),
        ("[[event]]\nat_step = 1\nscael = 3\n", ["[[event]] 1: unknown key 'scael'", "did you mean 'scale'?"]),
        ("[[event]]\nat_step = 1\nzzz = 3\nkill = 1", ["unknown key 'zzz'", "known: at_step, scale, kill, leave"]),
        ("[[event]]\nat_step = '1'\nkill = 1\n", ["at_step = '1' is not a whole number", "write at_step = 20"]),
        ("[[event]]\nat_step = 1.5\nkill = 1\n", ["at_step = 1.5 is not a whole number"]),
        ("[[event]]\nat_step = 1\nkill = true\n", ["kill = True is not a whole number"]),
        ("[[event]]\nscale = 2\n", ["at_step is missing"]),
        ("[[event]]\nat_step = 1\n", ["no action", "exactly one of scale, kill, leave"]),
        ("[[event]]\nat_step = 1\nkill = 1\nscale = 2\n", ["2 actions (scale, kill)", "one [[event]] for each"]),
        ("[[event]]\nat_step = -1\nkill = 1\n", ["at_step = -1 is negative"]),
        ("[[event]]\nat_step = 1\nscale = 5\n", ["scale = 5 is outside --workers 1:4", "use 1 to 4"]),
        ("[[event]]\nat_step = 1\nscale = 0\n", ["scale = 0 is outside --workers 1:4"]),
        ("[[event]]\nat_step = 1\nkill = 0\n", ["kill = 0", "use 1 to 4"]),
        ("[[event]]\nat_step = 1\nstop = 0\n", ["stop = 0", "use 1 to 4"]),
        ("[[event]]\nat_step = 1\npartition = 9\n", ["partition = 9", "at most 4 workers"]),
        ("[[event]]\nat_step = 1\nstop = 'w1'\n", ["stop = 'w1' is not a whole number"]),
        ("[[event]]\nat_step = 1\nkill_coordinator = 1\n", ["kill_coordinator = 1 is not true", "= true"]),
        ("[[event]]\nat_step = 1\nkill_coordinator = false\n", ["kill_coordinator = False is not true"]),
        ("[[event]]\nat_step = 1\nslow = 3\n", ["slow = 3 is not a table", "slow = { workers = 1, factor = 3 }"]),
        ("[[event]]\nat_step = 1\nslow = { workers = 1 }\n", ["slow: factor is missing"]),
        ("[[event]]\nat_step = 1\nslow = { workers = 1, factr = 2, factor = 2 }\n", ["slow: unknown key 'factr'"]),
        ("[[event]]\nat_step = 1\nslow = { workers = 1.5, factor = 2 }\n", ["slow: workers = 1.5 is not a whole"]),
        ("[[event]]\nat_step = 1\nslow = { workers = 5, factor = 2 }\n", ["slow: workers = 5", "at most 4"]),
        ("[[event]]\nat_step = 1\nslow = { workers = 1, factor = 0.5 }\n", ["slow: factor = 0.5", "1 ends it"]),
        ("[[event]]\nat_step = 1\nslow = { workers = 1, factor = nan }\n", ["slow: factor = nan"]),
        ("[[event]]\nat_step = 1\nleave = 5\n", ["leave = 5", "at most 4 workers"]),
    ],
)
def test_a_mistake_is_named_with_its_value_and_the_fix(text, parts):
    (found,) = problems(text)
    assert all(part in found for part in parts), found
    assert "\n  hint: " in found


def test_all_mistakes_are_found_at_once_each_with_its_event():
    text = """
extra = 1
[[event]]
at_step = 1
scale = 9
[[event]]
at_step = 2
kill = 1
[[event]]
at_step = "x"
kill = 1
leave = 1
"""
    found = problems(text)
    assert len(found) == 4
    assert "unknown key 'extra'" in found[0]
    assert "[[event]] 1: scale = 9" in found[1]
    assert "[[event]] 3: at_step = 'x'" in found[2]
    assert "[[event]] 3: 2 actions (kill, leave)" in found[3]


def test_a_missing_file_and_one_that_is_no_text(tmp_path):
    assert "does not exist" in read_plan(tmp_path / "no.toml", bounds=BOUNDS)[1][0]
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe")
    assert "cannot be read" in read_plan(tmp_path / "bad.toml", bounds=BOUNDS)[1][0]


SERVERS = """
[[event]]
at_step = 1
kill_server = 1
[[event]]
at_step = 2
scale_servers = 3
[[event]]
at_step = 3
stop_server = 2
"""


def test_events_of_servers_are_read():
    events, found = parse_plan(SERVERS, name="p", bounds=BOUNDS, servers=(1, 3))
    assert found == []
    assert events == [PlanEvent(1, kill_server=1), PlanEvent(2, scale_servers=3), PlanEvent(3, stop_server=2)]
    check_spec(JobSpec("j", "train.py", plan=events, strategy="parameter-server"))


def test_events_of_servers_that_cannot_be():
    found = parse_plan(SERVERS, name="p", bounds=BOUNDS)[1]
    assert len(found) == 3
    assert "kill_server = 1: the strategy all-reduce has no servers" in found[0]
    assert "add --strategy parameter-server" in found[0]
    found = parse_plan(SERVERS, name="p", bounds=BOUNDS, servers=(2, 2))[1]
    assert ["[[event]] 2: scale_servers = 3 is outside the job's 2 servers" in text for text in found] == [True]
    text = "[[event]]\nat_step = 1\nkill_server = 0\n[[event]]\nat_step = 1\nstop_server = 'x'\n"
    found = parse_plan(text, name="p", bounds=BOUNDS, servers=(1, 4))[1]
    assert "kill_server = 0 is outside the job's 1 to 4 servers" in found[0]
    assert "stop_server = 'x' is not a whole number" in found[1]
