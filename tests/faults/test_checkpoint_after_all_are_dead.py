"""All workers killed: the job goes on by itself, from the newest checkpoint that is good."""

import signal

from elastic_books import assert_same_bits, read_traces

from pliant.transfer.checkpoint_manifest import check_checkpoint, complete_checkpoints

STEPS, EVERY = 40, 10


def test_all_killed_and_the_newest_checkpoint_damaged(lab, tmp_path, undisturbed):
    reference = undisturbed("train.py", "--steps", STEPS)
    directory = tmp_path / "checkpoints"
    options = {"workers": "1:3", "start": 2, "checkpoint-every": EVERY, "checkpoints": directory}
    job = lab.run(tmp_path, "train.py", "--steps", STEPS, "--delay", 0.02, **options)
    newest = directory / "step-00000020"
    job.wait(lambda _: newest.exists(), "the second checkpoint is written")
    job.hold("shard", "w1")  # nothing is committed from here on
    job.wait_held("shard", "w1")
    assert complete_checkpoints(directory)[0] == newest, "held too late"
    file = newest / "model.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-3] ^= 16
    file.write_bytes(raw)
    at = 1 + max(step for steps in read_traces(job.out).digests.values() for step in steps)
    for worker in ("w1", "w2"):
        job.signal(worker, signal.SIGKILL)
    ended = job.end()

    assert [event["kind"] for event in ended.report["events"]].count("worker_lost") == 2
    (resumed,) = ended.events("job_resumed")
    assert f"the job goes on at step 10, from {directory / 'step-00000010'}; " in resumed["message"]
    # Of the very last steps the coordinator may not have heard.
    assert any(f"; {count} steps are done again" in resumed["message"] for count in range(5, at - EVERY + 1))
    assert "model.safetensors is damaged" in resumed["message"]
    assert_same_bits(ended.trace, reference)
    assert ended.trace.noted("weights") == reference.noted("weights") * 2
    assert ended.report["weights_sha256"] == reference.noted("weights")[0]
    assert (ended.report["steps"], ended.report["samples"]) == (STEPS, steps_to_samples(reference))
    # Those that went on did each step from 10 on, and nobody did any before that again.
    went_on = {pid: steps for pid, steps in ended.trace.digests.items() if STEPS - 1 in steps}
    assert len(went_on) == 2
    assert all(set(steps) == set(range(EVERY, STEPS)) for steps in went_on.values())
    shards = [shard for pid in went_on for shard in ended.trace.shards[pid]]
    expected = [shard for shards in reference.shards.values() for shard in shards if shard[1] >= EVERY]
    assert sorted(shards) == sorted(expected)
    left = complete_checkpoints(directory)
    assert [check_checkpoint(path).step for path in left] == [30, 20, 10]


def steps_to_samples(reference):
    return sum(len(samples) for shards in reference.shards.values() for _, _, samples in shards)
