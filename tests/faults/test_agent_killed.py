"""The process that starts the workers dies, or the template that they are forked from: training goes on."""

import os
import signal

from elastic_lab import is_alive, wait_until
from fault_checks import check, go_on

TEMPLATE = "multiprocessing.forkserver"


def template_of(job):
    """The process that the job's workers are forked from."""
    workers = {worker.pid for worker in job.status().workers}
    found = [pid for pid, words in job.processes().items() if TEMPLATE in words and pid not in workers]
    return [pid for pid in found if is_alive(pid)]


def test_another_agent_adopts_the_workers(own_lab, start_in, reference):
    job = start_in(own_lab, 3)
    first = job.kill_agent()
    job.wait_event("agent_returned")
    assert f"pid {first}" in job.events("agent_lost")[0].message
    assert "w1, w2, w3" in job.events("agent_returned")[0].message
    # It sees their ends, signals them, and starts new ones.
    job.kill("w2")
    go_on(job, 3)
    job.scale(2)
    go_on(job, 2)
    # Both at once: the one that sees the other's death is dead itself, and `pliant run` begins the chain.
    job.kill_agent()
    job.kill_coordinator()
    job.wait_event("agent_returned", count=2)
    job.scale(3)
    go_on(job, 3)
    ended = job.stop()
    check(ended, reference, lost=["w2"], how="nobody saw how")


def test_the_template_is_made_anew(own_lab, start_in, reference):
    job = start_in(own_lab, 2)
    (template,) = template_of(job)
    os.kill(template, signal.SIGKILL)
    wait_until(lambda: not is_alive(template), "the template is gone")
    job.pass_steps(3)
    job.scale(3)
    go_on(job, 3)
    job.kill("w1")  # a fork of the old template
    go_on(job, 3)
    (other,) = template_of(job)
    assert other != template
    check(job.stop(), reference, lost=["w1"], how="nobody saw how")
