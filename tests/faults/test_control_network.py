"""Trouble between the workers and the coordinator: reset, half-open, delayed. Training takes no notice."""

import pytest
from chaos_relay import ChaosRelay
from elastic_books import assert_same_bits
from elastic_lab import LONGEST, wait_until

from pliant.config import Home
from pliant.wire.address import read_address, write_address

STEPS = LONGEST


@pytest.fixture
def relay(own_lab):
    """``coordinator.json`` leads to it, so that everybody but the test itself goes through it."""
    home = Home(own_lab.home)
    assert own_lab.ask(lambda client: client.health())
    address = read_address(home)
    relay = ChaosRelay(address.port)
    write_address(home, type(address)(address.pid, address.host, relay.port, address.options))
    yield relay
    write_address(home, address)
    relay.close()


def test_reset_half_open_and_delayed_connections_cost_nothing(own_lab, relay, tmp_path, undisturbed):
    words = ("--steps", STEPS, "--delay", 0.05)
    job = own_lab.run(tmp_path, "train.py", *words, workers="1:3", start=2, patience=3)
    job.wait_workers(2)
    job.wait_step(3)

    before = relay.count
    relay.reset()
    wait_until(lambda: relay.count >= before + 3, "both workers and the agent are back")
    job.wait_step(job.status().step + 3)

    before = relay.count
    relay.go_deaf()
    wait_until(lambda: relay.count >= before + 3, "dead connections are replaced, although nobody said they are dead")
    assert relay.swallowed
    job.wait_step(job.status().step + 3)

    relay.delay_s = 0.1
    job.wait_step(job.status().step + 3)
    job.scale(3)
    job.wait_workers(3)
    assert relay.delayed
    relay.delay_s = 0.0

    ended = job.stop()
    reference = undisturbed("train.py", "--steps", STEPS)
    assert_same_bits(ended.trace, reference)
    assert ended.report["weights_sha256"] == reference.at(ended.report["steps"] - 1)[0]
    assert not {"worker_silent", "worker_lost", "worker_cut_off", "agent_lost", "coordinator_returned"} & set(
        ended.kinds
    )
    assert len(ended.report["losses"]) == ended.report["steps"]
    assert None not in ended.report["losses"], "a report of commits was lost"
