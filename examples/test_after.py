"""How to test an elastic script: `pytest examples/test_after.py` (needs `pip install 'pliant[testing]'`)."""

from pliant.testing import assert_same_weights


def test_a_dead_worker_changes_nothing(elastic):
    job = elastic.run("after.py", workers="1:3", start=3)
    job.wait_step(10)
    job.kill("w2")
    result = job.end()
    assert [event.step >= 10 for event in result.events_of("worker_lost")] == [True]
    assert_same_weights(result, elastic.undisturbed("after.py"))
