"""``pliant run`` and its companions as real processes: a real coordinator and agent, workers that train nothing."""

import json
import os
import signal

import pytest
from cli_helpers import DEADLINE_S, ENTRY, wait_until
from cli_workers import SHA


def run_words(script, *words, options=("--workers", "1")):
    return ["run", "--entry", ENTRY, *options, str(script), *words]


def started(pliant, tmp_path, script, *words, options=("--workers", "1")):
    """A ``pliant run`` whose worker trains."""
    output = tmp_path / "run.out"
    process = pliant.start(*run_words(script, *words, options=options), output=output)
    wait_until(lambda: "training with" in output.read_text() or process.poll() is not None, "the worker trains")
    assert process.poll() is None, output.read_text()
    return process, output


def test_a_report_without_its_page(pliant, script, tmp_path):
    report = tmp_path / "report.json"
    options = ("--workers", "1", "--report", str(report), "--no-page")
    assert pliant(*run_words(script, "steps=2", options=options)).returncode == 0
    assert json.loads(report.read_text())["steps"] == 2
    assert not report.with_suffix(".html").exists()


def test_a_job_runs_to_its_end(pliant, script, tmp_path):
    report = tmp_path / "report.json"
    done = pliant(*run_words(script, "steps=6", "x", options=("--workers", "1:2", "--report", str(report))))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "training with steps=6 x\nno newline at the end\n"
    assert "job train created" in done.stderr
    assert "patience 10 s: a crash is seen at once, a hang after at most 12.5 s" in done.stderr
    assert "train finished: 6 steps, 48 samples" in done.stderr
    assert f"sha256 {SHA}" in done.stderr
    written = json.loads(report.read_text())
    assert (written["steps"], written["weights_sha256"]) == (6, SHA)
    assert SHA in report.with_suffix(".html").read_text()

    listed = json.loads(pliant("status", "--json").stdout)
    assert [(job["name"], job["state"]) for job in listed] == [("train", "finished")]
    events = pliant("events", "train")
    assert "training begins with 1 worker: w1" in events.stdout
    assert pliant("events", "train", "--follow", "--json").returncode == 0
    assert json.loads(pliant("events", "train", "--json").stdout)[-1]["kind"] == "job_finished"
    assert "train · finished · step 6/6" in pliant("status", "train").stdout
    assert pliant("status", "train", "--watch").returncode == 0


def test_json_puts_the_report_and_nothing_else_on_stdout(pliant, script):
    done = pliant(*run_words(script, "steps=2", options=("--workers", "1", "--json")))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["state"] == "finished"
    assert "training with" in done.stderr


def test_quiet_leaves_only_what_the_script_prints(pliant, script):
    done = pliant(*run_words(script, "steps=2", options=("--workers", "1", "--quiet")))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("training with")


@pytest.mark.parametrize("silent", [False, True])
def test_a_script_that_raises_is_exit_code_3_with_its_traceback_once(pliant, script, silent):
    words = ["raise", "steps=9", *(["silently"] if silent else [])]
    done = pliant(*run_words(script, *words))
    assert done.returncode == 3
    text = done.stdout + done.stderr
    assert text.count("Traceback (most recent call last)") == 1
    assert "raised ValueError: the user's own mistake" in done.stderr


def test_a_lost_job_is_exit_code_4(pliant, script, tmp_path):
    process, output = started(pliant, tmp_path, script, "steps=100000")
    wait_until(lambda: json.loads(pliant("status", "train", "--json").stdout)["step"], "a step is committed")
    (worker,) = json.loads(pliant("status", "train", "--json").stdout)["workers"]
    os.kill(worker["pid"], signal.SIGKILL)
    assert process.wait(timeout=DEADLINE_S) == 4
    assert "killed by SIGKILL" in output.read_text()


def test_ctrl_c_stops_gracefully_with_exit_code_5(pliant, script, tmp_path):
    process, output = started(pliant, tmp_path, script, "steps=100000")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=DEADLINE_S) == 5
    assert "Stopping at the next step boundary. Ctrl-C again stops at once." in output.read_text()
    assert "train stopped" in output.read_text()


def test_ctrl_c_twice_kills_with_exit_code_130(pliant, script, tmp_path):
    process, output = started(pliant, tmp_path, script, "steps=100000", "stubborn")
    process.send_signal(signal.SIGINT)
    wait_until(lambda: "Stopping at the next" in output.read_text(), "the first Ctrl-C was seen")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=DEADLINE_S) == 130
    assert "Stopping at once." in output.read_text()


def test_the_job_outlives_its_command_line(pliant, script, tmp_path):
    process, _ = started(pliant, tmp_path, script, "steps=100000")
    process.kill()
    process.wait(timeout=DEADLINE_S)
    step = json.loads(pliant("status", "train", "--json").stdout)["step"]
    wait_until(lambda: json.loads(pliant("status", "train", "--json").stdout)["step"] > step, "it goes on")
    assert pliant("stop", "train").returncode == 0

    def state():
        return json.loads(pliant("status", "train", "--json").stdout)["state"]

    wait_until(lambda: state() == "stopped", "the job is stopped")


def test_sigterm_detaches_and_says_so(pliant, script, tmp_path):
    process, output = started(pliant, tmp_path, script, "steps=100000")
    process.terminate()
    assert process.wait(timeout=DEADLINE_S) == 128 + signal.SIGTERM
    assert "the job goes on; `pliant stop train` stops it" in output.read_text()
    assert json.loads(pliant("status", "train", "--json").stdout)["state"] == "running"
    assert pliant("stop", "train", "--now").returncode == 0


def test_a_taken_name_is_refused_if_chosen_and_numbered_if_not(pliant, script, tmp_path):
    process, _ = started(pliant, tmp_path, script, "steps=100000")
    chosen = pliant(*run_words(script, options=("--workers", "1", "--name", "train")))
    assert chosen.returncode == 2
    assert "a job named train is already running" in chosen.stderr
    other = pliant(*run_words(script, "steps=2"))
    assert other.returncode == 0
    assert "job train-2 created" in other.stderr
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=DEADLINE_S) == 5


def test_scale_out_of_bounds_and_in_bounds(pliant, script, tmp_path):
    process, _ = started(pliant, tmp_path, script, "steps=100000", options=("--workers", "1:2"))
    refused = pliant("scale", "train", "3")
    assert refused.returncode == 2
    assert "3" in refused.stderr
    assert "1" in refused.stderr
    wanted = pliant("scale", "train", "1", "--json")
    assert json.loads(wanted.stdout)["target_workers"] == 1
    wrong = pliant("scale", "train", "none")
    assert wrong.returncode == 2
    assert "K is none, not a whole number" in wrong.stderr
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=DEADLINE_S) == 5


def test_down_leaves_running_jobs_alone_unless_forced(pliant, script, tmp_path):
    process, _ = started(pliant, tmp_path, script, "steps=100000")
    refused = pliant("down")
    assert refused.returncode == 2
    assert "jobs are running: train" in refused.stderr
    assert "`pliant stop train`" in refused.stderr
    assert json.loads(pliant("status", "train", "--json").stdout)["state"] == "running"
    assert pliant("down", "--force").returncode == 0
    process.wait(timeout=DEADLINE_S)


def test_bad_input_starts_nothing(pliant, tmp_path):
    done = pliant("run", "--workers", "3:1", str(tmp_path / "no.py"))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("error: ") == 2
    assert not pliant.home.exists()


def test_an_agent_that_cannot_work_ends_the_run(pliant, script, tmp_path):
    process, output = started(pliant, tmp_path, script, "steps=100000")
    children = wait_until(lambda: agents(pliant), "the agent runs")
    assert len(children) == 1
    os.kill(children[0], signal.SIGTERM)
    assert process.wait(timeout=DEADLINE_S) == 4
    assert "agent.log" in output.read_text() or "SIGTERM" in output.read_text()


def agents(pliant):
    """Pids of agents of this home."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
            except OSError:
                continue
            if b"pliant.backends.agent" in words and str(pliant.home).encode() in words:
                found.append(int(entry))
    return found


def test_resume_follows_a_job_that_lives_and_refuses_one_that_is_finished(pliant, script, tmp_path):
    process, _ = started(pliant, tmp_path, script, "steps=150")
    done = pliant("resume", "train", "--workers", "1:2")
    assert done.returncode == 0, done.stderr
    assert "job train goes on by itself" in done.stderr
    assert "keeps its options" in done.stderr
    assert process.wait(timeout=DEADLINE_S) == 0
    again = pliant("resume", "train")
    assert again.returncode == 2
    assert "job train is finished" in again.stderr
