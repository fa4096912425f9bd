"""Somebody dies while a newcomer receives the state: it gets it from others, or another newcomer gets it."""

from fault_checks import check, go_on


def test_kill_of_the_newcomer_of_a_source_and_of_the_other_source(start, reference):
    """Each time rank 0 is held when it has announced the state and has sent no data; the other source has sent all."""
    job = start(2, high=3)
    job.hold("data-to-2", "w1")
    job.scale(3)
    job.wait_held("data-to-2", "w1")
    job.kill("w3")  # the newcomer, in the middle of receiving
    job.release("data-to-2", "w1")
    go_on(job, 3)  # w1, w2, w4

    job.hold("data-to-2", "w1")
    job.kill("w2")  # w5 comes for it, and gets its state from w1 and w4
    job.wait_held("data-to-2", "w1")
    job.kill("w1")  # in the middle of sending
    go_on(job, 3)  # w4, w5 or w6, ...

    first, second, third = (worker.worker for worker in job.wait_workers(3))
    job.hold("data-to-2", first)
    job.kill(third)
    job.wait_held("data-to-2", first)
    job.kill(second)  # it has sent its part
    job.release("data-to-2", first)
    go_on(job, 3)
    ended = job.stop()
    lost = [event["message"].partition(",")[0] for event in ended.events("worker_lost")]
    newcomers = [event["message"].partition(" ")[0] for event in ended.events("newcomer_lost")]
    assert {"w1", "w2", second, third} <= set(lost)
    assert set(lost) | set(newcomers) == {"w1", "w2", "w3", second, third}
    check(ended, reference, lost=lost, ahead=8)
    assert ended.events("workers_shrunk") == []
