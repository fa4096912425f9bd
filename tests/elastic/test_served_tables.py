"""Tables on parameter servers have the rows of one process alone, to the bit, whatever happens to whom."""

import json

import pytest
from elastic_books import assert_exactly_once, assert_same_bits

from pliant.transfer.checkpoint_manifest import complete_checkpoints, read_manifest

STEPS = 60
SERVED = {"strategy": "parameter-server"}


@pytest.fixture
def reference(undisturbed):
    return undisturbed("tables.py", "--steps", STEPS)


@pytest.mark.few(1)
@pytest.mark.parametrize(("workers", "servers"), [(3, 2), (1, 1)])
def test_any_number_of_workers_and_servers(lab, tmp_path, reference, workers, servers):
    job = lab.run(
        tmp_path, "tables.py", "--steps", 12, workers=f"{workers}:4", start=workers, servers=f"{servers}:4", **SERVED
    )
    assert_same_bits(job.end().trace, reference)


def test_servers_and_workers_are_killed_and_come(lab, tmp_path, reference):
    words = ("--steps", STEPS, "--delay", 0.02)
    job = lab.run(tmp_path, "tables.py", *words, workers="1:4", start=2, servers="2:4", **SERVED)
    job.wait_servers(2)
    job.pass_steps(2)
    job.hold("shard", "w1")
    job.wait_held("shard", "w1")
    job.kill("s1")
    job.release("shard", "w1")
    job.wait_event("slots_restored")
    job.hold("shard", "w1")
    job.wait_held("shard", "w1")
    pids = {worker.worker: worker.pid for worker in job.status().workers}

    def in_one_pass():
        """Whoever is not in it does not know what the other had begun."""
        books = job.books().shards
        first, second = (max(step for _, step, _ in books[pids[worker]]) for worker in ("w1", "w2"))
        return first == second

    job.wait(lambda _: in_one_pass(), "w1 stands still in a pass, and w2 is in the same")
    job.kill("w2")
    job.release("shard", "w1")
    job.scale_servers(3)
    job.wait_servers(3)
    job.pass_steps(2)
    job.kill("s2")
    ended = job.end()
    assert_same_bits(ended.trace, reference)
    assert ended.report["steps"] == STEPS
    assert ended.report["weights_sha256"] == reference.noted("weights")[0]
    recomputed = sum(event["shards_recomputed"] for event in ended.events("worker_lost"))
    assert_exactly_once(ended.trace, reference, steps=STEPS, recomputed=recomputed)
    assert len(ended.events("server_lost")) == 2


def test_a_table_is_in_the_checkpoint(lab, tmp_path, reference):
    directory = tmp_path / "checkpoints"
    options = {"checkpoint-every": 10, "checkpoints": directory, "servers": "2:2"}
    job = lab.run(tmp_path, "tables.py", "--steps", STEPS, "--delay", 0.02, workers="1:2", start=2, **options, **SERVED)
    job.wait(lambda _: (directory / "step-00000020").exists(), "the second checkpoint is written")
    job.kill(*(server.server for server in job.status().servers))
    ended = job.end()
    assert ended.events("job_resumed")
    assert_same_bits(ended.trace, reference)
    newest = read_manifest(complete_checkpoints(directory)[0])
    assert newest.weights_sha256 == reference.at(newest.step - 1)[0]
    assert sorted(newest.tables) == ["tags", "users"]


@pytest.mark.few(1)
@pytest.mark.parametrize("staleness", ["sync", "none"])
def test_rows_beyond_the_limit_of_a_server_end_the_job_with_the_reason(lab, tmp_path, staleness):
    options = {"server-memory": "1MiB", "staleness": staleness, "servers": "2:2"}
    words = ("--steps", 40, "--size", 20_000, "--batch", 4_000)
    ended = lab.run(tmp_path, "tables.py", *words, workers="2:2", start=2, **options, **SERVED).end(3)
    for part in ("server s", "table users: ", "more rows beside", "its limit of 1.0 MB (--server-memory)", "min_count"):
        assert part in ended.error
    assert not ended.events("server_lost")


def test_all_reduce_has_no_place_for_a_table(lab, tmp_path):
    ended = lab.run(tmp_path, "tables.py", "--steps", 3, workers="2:2", start=2).end(3)
    assert "the tables tags, users" in ended.error
    assert "--strategy parameter-server" in ended.error


@pytest.mark.few(0)
def test_a_stopped_job_goes_on_with_servers_only(own_lab, tmp_path, reference):
    words = ("--steps", STEPS, "--delay", 0.02)
    job = own_lab.run(tmp_path, "tables.py", *words, workers="1:2", start=2, servers="2:2", **SERVED)
    job.wait_step(6)
    ended = job.stop()
    steps = ended.report["steps"]
    assert ended.report["weights_sha256"] == reference.at(steps - 1)[0]
    exported = json.loads(own_lab("export", job.name, "--json").stdout)
    assert [(each["table"], each["step"]) for each in exported] == [("tags", steps), ("users", steps)]
    refused = own_lab("resume", job.name, "--no-live", "--strategy", "all-reduce")
    assert refused.returncode == 2
    assert f"job {job.name} has the tables tags, users" in refused.stderr
    report = tmp_path / "resumed.json"
    done = own_lab("resume", job.name, "--workers", "1", "--no-live", "--no-page", "--report", report)
    assert done.returncode == 0, done.stderr
    assert json.loads(report.read_text())["weights_sha256"] == reference.noted("weights")[0]
