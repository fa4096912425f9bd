"""A newcomer dies on its way in, at each place of that way: the others train on, and another one comes."""

from fault_checks import check, go_on


def test_kill_of_newcomers_on_their_way_in_and_when_ready(start, reference):
    job = start(2)
    ways = {"w3": "start", "w4": "rehearsal", "w5": "load"}
    for worker, phase in ways.items():
        job.hold(phase, worker)
    job.scale(3)
    for worker, phase in ways.items():
        job.wait_held(phase, worker)
        if phase == "load":  # the last one: have the members inside a step when the one after it is ready
            job.hold("shard", "w1")  # w2 waits for its gradients
        job.kill(worker)
    # The new generation stands, but nobody can switch to it.
    job.wait_held("shard", "w1")
    job.wait(lambda s: any(w.worker == "w6" and w.state == "ready" for w in s.workers), "w6 is ready")
    job.kill("w6")
    job.wait_event("newcomer_lost", count=3)
    job.release("shard", "w1")
    go_on(job, 3)
    ended = job.stop()
    check(ended, reference, lost=["w5"])  # it had entered its generation: the others had to go on without it
    assert [event["message"].partition(" ")[0] for event in ended.events("newcomer_lost")] == ["w3", "w4", "w6"]
