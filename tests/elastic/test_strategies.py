"""With parameter servers a script computes the bits that it computes with all-reduce, and may change over at a stop."""

import json

import pytest
from elastic_books import assert_same_bits, read_traces
from elastic_lab import LONGEST

STEPS = 24


@pytest.mark.few(2)
@pytest.mark.parametrize("counts", [(1, 3, 2), (4, 2, 1), (3, 1, 2), (1, 1, 1)])
def test_any_number_of_workers_and_servers(lab, tmp_path, undisturbed, counts):
    workers, servers, copies = counts
    job = lab.run(
        tmp_path, "train.py", "--steps", STEPS, workers=f"{workers}:4", start=workers, servers=f"{servers}:4",
        copies=copies, strategy="parameter-server",
    )  # fmt: skip
    ended = job.end()
    reference = undisturbed("train.py", "--steps", LONGEST)
    assert_same_bits(ended.trace, reference)
    assert ended.report["weights_sha256"] == reference.at(STEPS - 1)[0]


def test_several_loops_and_evaluations(lab, tmp_path, undisturbed):
    job = lab.run(tmp_path, "calls.py", workers="2:3", start=2, servers="2:2", strategy="parameter-server")
    ended = job.end()
    reference = undisturbed("calls.py")
    assert ended.report["weights_sha256"] == reference.noted("weights")[0]


@pytest.mark.few(1)
@pytest.mark.parametrize("strategy", ["parameter-server", "all-reduce"])
def test_a_script_that_does_odd_things_with_gradients_and_weights(lab, tmp_path, undisturbed, strategy):
    ended = lab.run(tmp_path, "odd.py", workers="2:2", start=2, strategy=strategy).end()
    reference = undisturbed("odd.py")
    assert_same_bits(ended.trace, reference)
    assert ended.report["weights_sha256"] == reference.noted("weights")[0]


@pytest.mark.few(0)
@pytest.mark.parametrize(("first", "then"), [("all-reduce", "parameter-server"), ("parameter-server", "all-reduce")])
def test_a_stopped_job_goes_on_with_the_other_strategy(own_lab, tmp_path, undisturbed, first, then):
    reference = undisturbed("train.py", "--steps", STEPS)
    job = own_lab.run(tmp_path, "train.py", "--steps", STEPS, "--delay", 0.05, workers="1:3", start=2, strategy=first)
    job.wait_step(6)
    job.stop()
    report = tmp_path / "resumed.json"
    done = own_lab(
        "resume", job.name, "--workers", "2", "--no-live", "--no-page", "--report", report, "--strategy", then
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(report.read_text())["weights_sha256"] == reference.noted("weights")[0]
    trace = read_traces(job.out)
    for number in range(STEPS):
        assert trace.at(number) == reference.at(number)
