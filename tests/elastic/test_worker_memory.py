"""How much memory workers take: what has gone is given up, and a table is nowhere as a whole."""

import pytest

TABLE_BYTES = 200_000 * (64 * 2 * 4 + 16)


@pytest.mark.parametrize("clip", [0.0, 1.0])
@pytest.mark.parametrize("strategy", ["all-reduce", "parameter-server"])
def test_a_step_leaves_no_tensor_to_the_cycle_collector(lab, tmp_path, strategy, clip):
    options = {"strategy": strategy, "checkpoint-every": 5}
    job = lab.run(tmp_path, "tidy.py", "--steps", 12, "--clip", clip, workers="2:2", start=2, **options)
    noted = job.end().trace.noted("garbage")
    assert len(noted) == 2 * 12
    # Of the first steps is what the processes began with; torch, too, has made things then.
    assert not [entry for entry in noted if entry[0] > 1 and entry[1]]


@pytest.mark.few(0)
def test_a_checkpoint_of_a_large_table_is_written_and_read_in_little_memory(own_lab, tmp_path):
    options = {"strategy": "parameter-server", "servers": "2:2", "checkpoint-every": 12}
    job = own_lab.run(tmp_path, "large.py", "--steps", 60, workers="2:2", start=2, **options)
    job.wait_step(16)
    stopped = job.stop()
    assert stopped.events("checkpoint_written")
    assert stopped.report["steps"] < 60
    within = {}
    for main, step, size_bytes in stopped.trace.noted("begins"):
        within.setdefault(main, {})[step] = size_bytes
    before = max(size for step, size in within[True].items() if 2 <= step < 12)
    assert within[True][12] - before < TABLE_BYTES // 2, "the checkpoint before step 12"
    resumed = own_lab("resume", job.name, "--no-live")
    assert resumed.returncode == 0, resumed.stderr
    trace = job.books()
    first = stopped.report["steps"]
    begun = [size for _, step, size in trace.noted("begins") if step == first]
    computed = [size for _, step, size in trace.noted("computed") if step == first]
    assert len(begun) == len(computed) == 2
    usual = max(size for _, step, size in trace.noted("computed") if step > first + 2)
    assert max(begun + computed) - usual < TABLE_BYTES // 2, "the state came to the servers"
