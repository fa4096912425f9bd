"""A parameter server stands still (SIGSTOP): others take its place, and when it wakes it does no harm."""

import os
import signal

from elastic_books import assert_same_bits
from elastic_lab import LONGEST

from pliant.processes import process_state

PATIENCE_S = 2.5


def test_a_stopped_server_is_expelled_and_does_no_harm_when_it_wakes(own_lab, tmp_path, undisturbed):
    reference = undisturbed("train.py", "--steps", LONGEST)
    job = own_lab.run(
        tmp_path, "train.py", "--steps", LONGEST, "--delay", 0.05, workers="1:4", start=2, patience=PATIENCE_S,
        servers="2:4", strategy="parameter-server",
    )  # fmt: skip
    job.wait_servers(2)
    job.pass_steps(3)
    pid = job.process_of("s1")
    job.hang("s1")
    job.wait_event("server_lost")
    job.pass_steps(3)
    assert process_state(pid).stopped, "the others went on while it stood still"
    os.kill(pid, signal.SIGCONT)
    job.wait_event("slots_restored")
    job.pass_steps(3)
    ended = job.stop()
    assert_same_bits(ended.trace, reference)
    assert ended.report["weights_sha256"] == reference.at(ended.report["steps"] - 1)[0]
    (lost,) = ended.events("server_lost")
    assert "s1" in lost["message"]
