"""All holders of a slot are lost: the job goes on from its checkpoint and says so, or ends with the reason."""

from elastic_books import assert_same_bits

STEPS, EVERY = 60, 10
SERVED = {"strategy": "parameter-server", "servers": "2:3"}


def begin(lab, tmp_path, **options):
    words = ("--steps", STEPS, "--delay", 0.02)
    job = lab.run(tmp_path, "train.py", *words, workers="1:3", start=2, **SERVED, **options)
    job.wait_servers(2)
    return job


def test_the_job_goes_on_from_its_checkpoint(lab, tmp_path, undisturbed):
    directory = tmp_path / "checkpoints"
    job = begin(lab, tmp_path, **{"checkpoint-every": EVERY, "checkpoints": directory})
    job.wait(lambda _: (directory / "step-00000020").exists(), "the second checkpoint is written")
    job.kill(*(server.server for server in job.status().servers))
    ended = job.end()
    reference = undisturbed("train.py", "--steps", STEPS)
    assert_same_bits(ended.trace, reference)
    assert ended.report["weights_sha256"] == reference.noted("weights")[0]
    assert ended.events("job_resumed")
    assert len(ended.events("server_lost")) == 2


def test_without_a_checkpoint_it_ends_and_says_why(lab, tmp_path):
    job = begin(lab, tmp_path)
    job.wait_step(5)
    job.kill(*(server.server for server in job.status().servers))
    ended = job.end(4)
    assert "nobody is left who holds slots 0-63" in ended.error
    assert "--checkpoint-every" in ended.error
