"""``pliant stop`` leaves a checkpoint, and ``pliant resume`` ends with the bits of a run that never stopped."""

import json

import pytest
import safetensors.torch
from elastic_books import read_traces

from pliant.transfer.checkpoint_manifest import check_checkpoint


@pytest.mark.few(0)
def test_stopped_and_resumed_with_more_workers_under_another_coordinator(own_lab, tmp_path, undisturbed):
    reference = undisturbed("calls.py")
    job = own_lab.run(tmp_path, "calls.py", "--delay", 0.01, workers="1:2", start=2)
    job.wait_step(17)  # in the second of four calls of steps
    stopped = job.stop()
    assert f"`pliant resume {job.name}` goes on from step {stopped.report['steps']}" in stopped.error
    (written,) = stopped.events("checkpoint_written")
    step = stopped.report["steps"]
    path = own_lab.home / "jobs" / job.name / "checkpoints" / f"step-{step:08d}"
    assert (written["step"], written["message"].partition(":")[0]) == (step, str(path))

    # Its files are of use without Pliant.
    assert set(safetensors.torch.load_file(path / "model.safetensors")) == {"0.weight", "0.bias", "3.weight", "3.bias"}
    assert check_checkpoint(path).weights_sha256 == reference.at(step - 1)[0]

    again = own_lab("run", "--name", job.name, "--workers", "1", own_lab.home / "nothing.py")
    assert again.returncode == 2
    script = stopped.report["script"]
    again = own_lab("run", "--name", job.name, "--workers", "1", script, "--out", job.out)
    assert again.returncode == 2
    assert f"before step {step}" in again.stderr
    assert f"`pliant resume {job.name}`" in again.stderr
    assert "--discard" in again.stderr
    assert own_lab("resume", "nobody").returncode == 6

    assert own_lab("down").returncode == 0
    report = tmp_path / "resumed.json"
    done = own_lab("resume", job.name, "--workers", "3", "--no-live", "--no-page", "--report", report)
    assert done.returncode == 0, done.stderr
    job.assert_no_process()
    resumed = json.loads(report.read_text())
    assert (resumed["first_step"], resumed["steps"]) == (step, 48)
    assert resumed["weights_sha256"] == reference.noted("weights")[0]
    assert resumed["samples"] == sum(len(s) for shards in reference.shards.values() for _, _, s in shards)
    (event,) = [event for event in resumed["events"] if event["kind"] == "job_resumed"]
    assert event["message"] == f"the job goes on at step {step}, from {path}"
    trace = read_traces(job.out)
    for number in range(48):
        assert trace.at(number) == reference.at(number)
    # Each shard of each step once, over both runs.
    found = sorted(shard for shards in trace.shards.values() for shard in shards)
    assert found == sorted(shard for shards in reference.shards.values() for shard in shards)
    # Evaluations gave the recorded or the computed result, which are the same.
    assert {json.dumps(value) for value in trace.noted("measured")} == {
        json.dumps(value) for value in reference.noted("measured")
    }
