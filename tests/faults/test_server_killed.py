"""A parameter server dies: its copies stand in for it at once, and the bits are those of a job without servers."""

import random

import pytest
from elastic_books import assert_same_bits
from fault_checks import STEPS, check, go_on

SERVED = {"strategy": "parameter-server"}


def test_kill_of_a_server_while_workers_compute_then_of_one_and_a_worker_at_once(start, reference):
    job = start(3, servers="2:4", **SERVED)
    job.wait_servers(2)
    job.hold("shard", "w1")  # inside a step: others have sent sums to the server that dies
    job.wait_held("shard", "w1")
    job.kill("s1")
    job.release("shard", "w1")
    go_on(job, 3)
    job.wait_event("slots_restored")
    job.hold("shard", "w2")
    job.wait_held("shard", "w2")
    job.kill("s2", "w2")
    go_on(job, 3)
    job.wait_event("slots_restored", count=2)
    job.pass_steps(5)
    ended = job.stop()
    check(ended, reference, lost=["w2"])
    lost = ended.events("server_lost")
    assert [event["message"].split()[0] for event in lost] == ["s1", "s2"]
    assert all(event["stall_s"] is not None for event in lost)


def test_servers_killed_again_and_again_wherever_they_are(start, reference):
    """Each time at another moment of a step; never one that alone holds a slot."""
    dice = random.Random(1)
    job = start(2, servers="3:4", **SERVED)
    for count in range(1, 5):
        servers = [server.server for server in job.wait_servers(3)]
        job.pass_steps(dice.randint(1, 4))
        job.kill(dice.choice(servers))
        job.wait_event("slots_restored", count=count)
    job.pass_steps(3)
    ended = job.stop()
    check(ended, reference, lost=[])
    assert len(ended.events("server_lost")) == 4


def test_servers_come_and_go_as_asked(start, reference):
    job = start(2, servers="1:4", **SERVED)
    for count in (3, 4, 2, 1, 3):
        job.scale_servers(count)
        job.wait_servers(count)
        job.pass_steps(3)
    job.leave("s2") if "s2" in {server.server for server in job.status().servers} else None
    ended = job.stop()
    check(ended, reference, lost=[])
    assert ended.events("servers_joined")
    assert ended.events("server_left")
    assert not ended.events("server_lost")


@pytest.mark.few(1)
@pytest.mark.parametrize("seed", [1, 2])
def test_random_history(lab, tmp_path, undisturbed, seed):
    steps = 80
    draw = random.Random(seed)
    kinds = [{"kill_server": 1}, {"kill": 1}, {"scale": draw.randint(2, 4)}, {"scale_servers": draw.randint(2, 4)}]
    plan = [{"at_step": at, **draw.choice(kinds)} for at in range(8, steps - 8, 12)]
    print("plan:", plan)
    job = lab.run(
        tmp_path, "train.py", "--steps", steps, "--delay", 0.02, workers="2:4", start=3, servers="2:4", plan=plan,
        **SERVED,
    )  # fmt: skip
    ended = job.end()
    assert_same_bits(ended.trace, undisturbed("train.py", "--steps", STEPS))
    assert ended.report["steps"] == steps
    assert len(ended.events("server_lost")) >= sum("kill_server" in event for event in plan) > 0
