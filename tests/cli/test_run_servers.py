"""``pliant run --strategy parameter-server``: a real coordinator, a real agent, and servers that hold nothing."""

import json
import os
import signal

import pytest
from cli_helpers import DEADLINE_S, wait_until
from cli_servers import ENTRY

OPTIONS = ("--workers", "1", "--strategy", "parameter-server", "--servers", "2:3")


@pytest.fixture
def run(pliant, script, tmp_path):
    """Starts a job that trains for long, with two servers that serve."""

    def start(*options):
        output = tmp_path / "run.out"
        words = ["run", "--entry", ENTRY, *OPTIONS, *options, str(script), "steps=100000", "milestones"]
        process = pliant.start(*words, output=output)
        wait_until(lambda: "servers_founded" in kinds(pliant), "both servers serve")
        return process, output

    return start


def status(pliant):
    done = pliant("status", "train", "--json")
    return json.loads(done.stdout) if done.returncode == 0 else {"servers": []}


def serving(pliant):
    return [server for server in status(pliant)["servers"] if server["state"] == "serving"]


def kinds(pliant):
    done = pliant("events", "train", "--json")
    return [event["kind"] for event in json.loads(done.stdout)] if done.returncode == 0 else []


def test_servers_are_killed_scaled_and_hung_while_the_job_runs(pliant, run):
    process, output = run("--patience", "3")
    first = serving(pliant)
    assert [(server["server"], server["primary"], server["copy"]) for server in first] == [
        ("s1", 32, 32),
        ("s2", 32, 32),
    ]
    wait_until(lambda: serving(pliant)[0]["size_bytes"], "s1 has said what it holds")
    os.kill(first[1]["pid"], signal.SIGKILL)
    wait_until(lambda: "slots_restored" in kinds(pliant), "the second copy is back")
    wait_until(lambda: [server["server"] for server in serving(pliant)] == ["s1", "s3"], "s3 took its place")

    assert pliant("scale", "train", "--servers", "3").returncode == 0
    wait_until(lambda: len(serving(pliant)) == 3, "a third one serves")
    os.kill(serving(pliant)[1]["pid"], signal.SIGSTOP)
    wait_until(lambda: "server_silent" in kinds(pliant), "s3 is found to hang")
    wait_until(lambda: len(serving(pliant)) == 3, "another one serves in its place")

    assert "servers wanted (2 to 3)" in pliant("status", "train").stdout
    assert pliant("stop", "train").returncode == 0
    assert process.wait(timeout=DEADLINE_S) == 5
    text = output.read_text()
    assert "s1 │ serving as s1" in text
    assert "s2 is lost in step" in text
    assert "each slot has 2 holders again: 64 slots filled in" in text
    assert "server lost" in text, "the summary names it"


def test_both_copies_lost_without_a_checkpoint_is_exit_code_4(pliant, run):
    process, output = run()
    wait_until(lambda: status(pliant)["step"], "a step is committed")
    for server in serving(pliant):
        os.kill(server["pid"], signal.SIGKILL)
    assert process.wait(timeout=DEADLINE_S) == 4
    assert "error: nobody is left who holds slots 0-63: s1 and s2 did. There is no checkpoint" in output.read_text()


def test_servers_outlive_the_coordinator_and_the_agent(pliant, run):
    process, _ = run("--patience", "3")
    before = serving(pliant)
    coordinator = json.loads((pliant.home / "coordinator.json").read_text())["pid"]
    os.kill(coordinator, signal.SIGKILL)
    wait_until(lambda: "coordinator_returned" in kinds(pliant), "another coordinator has taken the job up")
    wait_until(
        lambda: [server["pid"] for server in serving(pliant)] == [server["pid"] for server in before], "as before"
    )
    os.kill(before[0]["pid"], signal.SIGKILL)
    wait_until(lambda: "slots_restored" in kinds(pliant), "the other coordinator replaces servers, too")
    assert pliant("stop", "train").returncode == 0
    assert process.wait(timeout=DEADLINE_S) == 5


def test_a_plan_is_carried_out_on_servers(pliant, run, tmp_path):
    plan, report = tmp_path / "plan.toml", tmp_path / "report.json"
    plan.write_text("[[event]]\nat_step = 5\nkill_server = 1\n[[event]]\nat_step = 6\nscale_servers = 3\n")
    process, _ = run("--plan", str(plan), "--report", str(report))
    wait_until(lambda: len(serving(pliant)) == 3, "what was killed is replaced, and another one serves")
    assert pliant("stop", "train").returncode == 0
    assert process.wait(timeout=DEADLINE_S) == 5
    written = json.loads(report.read_text())
    told = [event["kind"] for event in written["events"]]
    wanted = ["plan_signal", "server_lost", "slots_restored", "scale_requested"]
    assert [kind for kind in told if kind in wanted] == wanted
    assert written["strategy"] == "parameter-server"
    assert max(count for _, count in written["servers_over_time"]) == 3


def test_what_a_server_refuses_ends_the_job_with_exit_code_2(pliant, script):
    done = pliant("run", "--entry", ENTRY, *OPTIONS, str(script), "refuse", "steps=100000")
    assert done.returncode == 2
    assert "error: s1: LBFGS cannot be cut into slices" in done.stderr or "error: s2: LBFGS" in done.stderr


def test_an_asynchronous_run_says_what_it_promises_and_is_drawn_beside_another(pliant, script, tmp_path):
    earlier, report = tmp_path / "earlier.json", tmp_path / "report.json"
    words = ("--entry", ENTRY, *OPTIONS, "--report")
    assert pliant("run", "--name", "sync", *words, str(earlier), str(script), "steps=5").returncode == 0
    stale = ("--staleness", "4", "--compare", str(earlier))
    done = pliant("run", "--name", "stale", *words, str(report), *stale, str(script), "stale", "steps=5")
    assert done.returncode == 0, done.stderr
    assert (
        "workers are at most 4 steps apart: each sample is used once in an epoch and each push is applied"
        in done.stderr
    )
    assert "  staleness    0.5 updates on average, 2 at most (at most 4 steps apart)" in done.stderr
    written = json.loads(report.read_text())
    assert (written["staleness"], written["mean_staleness"]) == (4, 0.5)
    assert written["pushes_by_staleness"] == {"0": 15, "2": 5}
    page = report.with_suffix(".html").read_text()
    assert "compared with sync, synchronous" in page
    assert "updates of others between pull and push" in page


def test_a_report_that_cannot_be_compared_with_starts_no_job(pliant, script, tmp_path):
    words = ("--report", str(tmp_path / "r.json"), "--compare", str(tmp_path / "none.json"))
    done = pliant("run", "--entry", ENTRY, *OPTIONS, *words, str(script))
    assert done.returncode == 2
    assert "none.json cannot be read: No such file or directory" in done.stderr
    assert not (pliant.home / "coordinator.json").exists()
