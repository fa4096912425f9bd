"""The options of ``pliant run``: defaults, and every bad input, all at once and before anything starts."""

import os

import msgspec
import pytest

from pliant.cli.run_options import check_options, run_parser
from pliant.control.spec_plan import check_spec
from pliant.errors import ConfigError
from pliant.wire.api import JobSpec, Report
from pliant.wire.messages import UNBOUNDED


def check(*words, cores=4):
    return check_options(run_parser().parse_args([str(word) for word in words]), cores=cores)


def problems(*words):
    with pytest.raises(ConfigError) as error:
        check(*words)
    return error.value.problems


def test_defaults(script):
    options = check(script, "--epochs", "3")
    spec = options.spec
    assert (spec.name, spec.script, spec.args) == ("train", str(script), ["--epochs", "3"])
    assert (spec.min_workers, spec.max_workers, spec.start_workers) == (1, 4, 1)
    assert (spec.threads, spec.patience_s, options.live, options.named) == (1, 10.0, True, False)


@pytest.mark.parametrize(
    ("workers", "start", "expected"),
    [("3", None, (3, 3, 3)), ("1:4", None, (1, 4, 1)), ("1:4", "2", (1, 4, 2)), ("2:2", "2", (2, 2, 2))],
)
def test_workers_and_start(script, workers, start, expected):
    words = ["--workers", workers, *([] if start is None else ["--start", start]), script]
    spec = check(*words).spec
    assert (spec.min_workers, spec.max_workers, spec.start_workers) == expected


def test_options_behind_the_script_are_the_scripts(script):
    options = check("--workers", "2", script, "--workers", "9", "--", "-x")
    assert options.spec.args == ["--workers", "9", "--", "-x"]
    assert options.spec.max_workers == 2


def test_the_name_is_made_from_the_script(tmp_path):
    path = tmp_path / "my model (2).py"
    path.touch()
    assert check(path).spec.name == "my-model-2-"


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--workers", "4:1"], ["--workers 4:1: MIN is above MAX", "--workers 1:4"]),
        (["--workers", "0"], ["--workers 0", "at least 1"]),
        (["--workers=-1:2"], ["--workers -1:2", "at least 1"]),
        (["--workers", "0:3"], ["--workers 0:3", "at least 1"]),
        (["--workers", "two"], ["--workers two is not a number or MIN:MAX"]),
        (["--workers", "1:2:3"], ["--workers 1:2:3 is not a number or MIN:MAX"]),
        (["--workers", "1:"], ["is not a number or MIN:MAX"]),
        (["--workers", "1:9999"], ["at most 4096"]),
        (["--workers", "1:3", "--start", "4"], ["--start 4 is outside --workers 1:3", "use 1 to 3"]),
        (["--workers", "2:3", "--start", "1"], ["--start 1 is outside --workers 2:3", "use 2 to 3"]),
        (["--start", "0"], ["--start 0 is outside --workers 1:4"]),
        (["--start", "x"], ["--start x is not a whole number"]),
        (["--threads", "0"], ["--threads 0 is not a whole number of at least 1"]),
        (["--threads", "1.5"], ["--threads 1.5"]),
        (["--patience", "0"], ["--patience 0 is not a number of seconds above 0"]),
        (["--patience", "inf"], ["--patience inf"]),
        (["--deal", "fair"], ["--deal fair is unknown", "use speed", "or even"]),
        (["--patience", "nan"], ["--patience nan"]),
        (["--patience", "soon"], ["--patience soon"]),
        (["--name", "../x"], ["--name '../x' is not a job name", "letters, digits"]),
        (["--name", ""], ["--name '' is not a job name"]),
        (["--name", "a" * 101], ["is not a job name", "up to 100"]),
        (["--plan", "/nowhere/plan.toml"], ["plan file /nowhere/plan.toml does not exist"]),
        (["--report", "/nowhere/r.json"], ["directory /nowhere does not exist", "mkdir -p /nowhere"]),
        (["--report", "/tmp"], ["--report /tmp is a directory"]),
        (["--report", "/tmp/r.html"], ["the report is JSON", "r.json"]),
    ],
)
def test_one_bad_option_is_one_problem(script, words, parts):
    (found,) = problems(*words, script)
    assert all(part in found for part in parts), found
    assert "\n  hint: " in found


def test_a_missing_script_is_named_with_the_nearest(tmp_path, script):
    (found,) = problems(tmp_path / "trian.py")
    assert f"script {tmp_path / 'trian.py'} does not exist" in found
    assert f"did you mean {script}?" in found


def test_a_directory_is_no_script(tmp_path):
    (found,) = problems(tmp_path)
    assert "is a directory" in found


@pytest.mark.skipif(os.geteuid() == 0, reason="everything is writable for root")
def test_a_report_that_cannot_be_written(tmp_path, script):
    (tmp_path / "r.json").touch(mode=0o400)
    (found,) = problems("--report", tmp_path / "r.json", script)
    assert "is not writable" in found


def test_everything_wrong_is_told_at_once(tmp_path):
    plan = tmp_path / "plan.toml"
    plan.write_text("[[event]]\nat_step = 1\nscale = 9\n[[event]]\nat_step = 2\n")
    found = problems(
        "--workers", "1:3", "--start", "7", "--threads", "0", "--name", "a b", "--plan", plan, "--report", "/no/r.json",
        "--patience", "-1", tmp_path / "missing.py",
    )  # fmt: skip
    assert len(found) == 8
    text = "\n".join(found)
    for part in (
        "missing.py",
        "--start 7",
        "--threads 0",
        "'a b'",
        "1: scale = 9",
        "2: no action",
        "/no",
        "--patience",
    ):
        assert part in text


def test_the_strategy_and_its_servers(script):
    spec = check(script).spec
    assert (spec.strategy, spec.min_servers, spec.max_servers, spec.copies) == ("all-reduce", 1, 4, 2)
    spec = check("--strategy", "parameter-server", script).spec
    assert (spec.strategy, spec.min_servers, spec.max_servers, spec.copies) == ("parameter-server", 1, 4, 2)
    spec = check("--strategy", "parameter-server", "--servers", "2:3", "--copies", "1", script).spec
    assert (spec.min_servers, spec.max_servers, spec.copies) == (2, 3, 1)
    assert check("--strategy", "parameter-server", "--servers", "2", script).spec.max_servers == 2


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (
            ["--strategy", "parameter-sever"],
            ["--strategy parameter-sever is unknown", "did you mean parameter-server?"],
        ),
        (["--strategy", "x"], ["--strategy x is unknown", "use all-reduce or parameter-server"]),
        (["--servers", "2"], ["--servers 2: the strategy all-reduce has no servers", "add --strategy"]),
        (["--copies", "1"], ["--copies 1: the strategy all-reduce has no servers"]),
        (["--staleness", "none"], ["--staleness none: the strategy all-reduce has no servers", "add --strategy"]),
        (["--server-memory", "2GiB"], ["--server-memory 2GiB: the strategy all-reduce has no servers"]),
    ],
)
def test_a_bad_strategy_is_one_problem(script, words, parts):
    (found,) = problems(*words, script)
    assert all(part in found for part in parts), found
    assert "\n  hint: " in found


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--servers", "4:1"], ["--servers 4:1: MIN is above MAX", "--servers 1:4"]),
        (["--servers", "0:2"], ["--servers 0:2", "at least 1"]),
        (["--servers", "two"], ["--servers two is not a number or MIN:MAX"]),
        (["--servers", "1:65"], ["at most 64 servers"]),
        (["--copies", "3"], ["--copies 3 is not 1 or 2"]),
        (["--staleness", "1001"], ["--staleness 1001 is not a number of steps from 0 to 1000, none or sync"]),
        (["--staleness=-1"], ["--staleness -1 is not a number of steps"]),
        (["--server-memory", "much"], ["--server-memory much is not a size of memory", "--server-memory 2GiB"]),
        (["--server-memory", "2"], ["--server-memory 2 is too little: 1,048,576 bytes are the least"]),
        (["--staleness", "None"], ["--staleness None is not a number of steps", "for example --staleness 4; none:"]),
    ],
)
def test_bad_numbers_of_servers_are_one_problem(script, words, parts):
    (found,) = problems("--strategy", "parameter-server", *words, script)
    assert all(part in found for part in parts), found
    assert "\n  hint: " in found


def test_a_plan_may_be_about_servers(tmp_path, script):
    plan = tmp_path / "plan.toml"
    plan.write_text("[[event]]\nat_step = 1\nkill_server = 1\n")
    assert check("--strategy", "parameter-server", "--plan", plan, script).spec.plan[0].kill_server == 1
    (found,) = problems("--plan", plan, script)
    assert "kill_server = 1: the strategy all-reduce has no servers" in found


@pytest.mark.parametrize(
    ("given", "staleness"), [("0", 0), ("4", 4), ("1000", 1000), ("none", UNBOUNDED), ("sync", None)]
)
def test_staleness(script, given, staleness):
    spec = check("--strategy", "parameter-server", "--staleness", given, script).spec
    assert spec.staleness == staleness
    check_spec(spec)


def test_synchronous_is_the_default_and_true_of_all_reduce(script):
    assert check("--strategy", "parameter-server", script).spec.staleness is None
    assert check("--staleness", "sync", script).spec.staleness is None


def test_problems_of_servers_are_told_together(script):
    words = ["--strategy", "parameter-server", "--servers", "0", "--copies", "3", "--staleness", "x"]
    found = [each.split()[0] for each in problems(*words, "--server-memory", "1", script)]
    assert found == ["--servers", "--copies", "--staleness", "--server-memory"]


def test_a_limit_of_the_servers_memory(script):
    words = ["--strategy", "parameter-server", script]
    assert check(*words).spec.server_memory_bytes is None
    assert check("--server-memory", "2GiB", *words).spec.server_memory_bytes == 2 << 30
    assert check("--server-memory", "none", *words).spec.server_memory_bytes is None
    assert check("--server-memory", "none", script).spec.server_memory_bytes is None


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"staleness": 1001}, "staleness is 1001; choose one from 0 to 1000, -1 for no bound"),
        ({"staleness": -2}, "staleness is -2; choose"),
        ({"staleness": 4, "strategy": "all-reduce"}, "staleness is 4, which needs the strategy parameter-server"),
        (
            {"staleness": 4, "trace": "/t"},
            "trace is /t, to compare bits, which differ each time with a staleness (here 4)",
        ),
    ],
)
def test_the_coordinator_refuses_a_staleness_that_cannot_work(fields, part):
    values = {"strategy": "parameter-server", **fields}
    with pytest.raises(ConfigError) as error:
        check_spec(JobSpec("j", "train.py", **values))
    (found,) = error.value.problems
    assert part in found


@pytest.fixture
def earlier(tmp_path):
    """As an earlier run has written it."""
    report = Report(
        name="sync", state="finished", script="train.py", steps=1, samples=8, wall_s=1.0, median_step_s=1.0,
        goodput=1.0, final_loss=0.5, weights_sha256=None, events=[], commit_times_s=[1.0], losses=[0.5],
        workers_over_time=[(0.0, 1)],
    )  # fmt: skip
    path = tmp_path / "sync.json"
    path.write_bytes(msgspec.json.encode(report))
    return path, report


def test_the_report_to_compare_with_is_read_before_anything_starts(tmp_path, script, earlier):
    path, report = earlier
    words = ["--report", tmp_path / "r.json", script]
    assert check("--compare", path, *words).compared == report
    assert check(*words).compared is None
    assert check("--compare", path, "--report", path, script).compared == report, "it may be written over at the end"


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("no.json", None, ["no.json cannot be read: No such file", "wrote with --report"]),
        ("r.json", b"{", ["r.json is not a report: Input data was truncated"]),
        ("r.json", b'{"name": "x"}', ["r.json is not a report", "missing required field"]),
        ("r.json", b'{"name": "\xff"}', ["r.json is not a report"]),
        ("r.html", b"<!doctype html>", ["r.html is not a report", "r.json: the numbers are in the JSON file"]),
    ],
)
def test_what_cannot_be_compared_with(tmp_path, script, name, content, parts):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    (found,) = problems("--compare", tmp_path / name, "--report", tmp_path / "out.json", script)
    assert all(part in found for part in parts), found
    assert f"--compare {tmp_path / name}" in found
    assert "\n  hint: " in found


def test_a_comparison_needs_a_page(tmp_path, script, earlier):
    (found,) = problems("--compare", earlier[0], script)
    assert "there is no page to draw it on\n  hint: add --report FILE" in found
    (found,) = problems("--compare", earlier[0], "--report", tmp_path / "out.json", "--no-page", script)
    assert "there is no page to draw it on\n  hint: leave --no-page out" in found
    (found,) = problems("--no-page", script)
    assert "--no-page without a report\n  hint: --report FILE --no-page writes" in found
