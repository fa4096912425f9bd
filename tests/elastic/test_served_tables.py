"""Tables on parameter servers have the rows of one process alone, to the bit, whatever happens to whom."""

import pytest
from elastic_books import assert_exactly_once, assert_same_bits

STEPS = 60
SERVED = {"strategy": "parameter-server"}


@pytest.fixture
def reference(undisturbed):
    return undisturbed("tables.py", "--steps", STEPS)


@pytest.mark.parametrize(("workers", "servers"), [(1, 1), (3, 2)])
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
    job.kill("w2")
    job.scale_servers(3)
    job.wait_servers(3)
    job.pass_steps(2)
    job.kill("s2")
    ended = job.end()
    assert_same_bits(ended.trace, reference)
    assert ended.report["steps"] == STEPS
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


def test_all_reduce_has_no_place_for_a_table(lab, tmp_path):
    ended = lab.run(tmp_path, "tables.py", "--steps", 3, workers="2:2", start=2).end(3)
    assert "the tables tags, users" in ended.error
    assert "--strategy parameter-server" in ended.error
