"""Who gets a job's weights: one order for each directory, known to all members, and gone with whoever asked."""

import random

import pytest

from pliant.control.publications import Publications
from pliant.errors import CoordinatorError, ProtocolError
from pliant.wire.messages import PublishWeights, WeightsOrder, WeightsPublished


def order(directory="/w", every=10, after=0):
    return WeightsOrder(directory, every, after)


def weights(directory="/w", step=10, every=10, **more):
    return WeightsPublished(directory, step, f"{directory}/{step}", every=every, **more)


def training(play, **spec):
    scene = play(start_workers=2, **spec)
    scene.start_workers()
    scene.enter(step=0)
    return scene


def orders_of(link):
    """What a worker was told last."""
    told = link.take(PublishWeights)
    return told[-1].orders if told else None


def test_every_member_is_told_and_the_first_word_ends_the_order(play):
    scene, answers = training(play), []
    scene.job.ask_weights(order(), answers.append)
    assert [orders_of(scene.links[worker]) for worker in ("w1", "w2")] == [[order()], [order()]]
    scene.say("w1", weights())
    assert answers == [weights()]
    assert [orders_of(scene.links[worker]) for worker in ("w1", "w2")] == [[], []]
    scene.say("w2", weights(step=20))
    assert answers == [weights()]


def test_a_newcomer_is_told(play):
    scene = training(play)
    scene.job.ask_weights(order(), lambda _: None)
    scene.registry.scale("j", 3)
    scene.start_workers()
    assert orders_of(scene.links["w3"]) is None
    scene.enter()
    assert orders_of(scene.links["w3"]) == [order()]


def test_what_came_unasked_answers_the_next_order(play):
    scene, answers = training(play), []
    scene.say("w1", weights(step=25, every=0))
    scene.job.ask_weights(order(after=20), answers.append)
    assert answers == [weights(step=25, every=0)]
    assert orders_of(scene.links["w1"]) is None


def test_weights_older_than_wanted_do_not_count(play):
    scene, answers = training(play), []
    scene.job.ask_weights(order(after=30), answers.append)
    scene.say("w1", weights(step=20))
    assert answers == []
    scene.say("w1", weights(step=30))
    assert answers == [weights(step=30)]


def test_what_was_written_once_more_for_the_order_before_is_not_what_this_one_wants(play):
    """A worker that has written weights goes on doing so until it hears that nobody waits any more."""
    scene, answers = training(play), []
    scene.job.ask_weights(order(every=1, after=7), answers.append)
    scene.say("w1", weights(step=7, every=1))
    scene.say("w1", weights(step=8, every=1))
    scene.job.ask_weights(order(every=10, after=8), answers.append)
    scene.say("w1", weights(step=9, every=1))
    assert answers == [weights(step=7, every=1)]
    scene.say("w1", weights(step=10))
    assert answers[1:] == [weights(step=10)]


def test_a_failure_is_told_and_is_not_kept(play):
    scene, answers = training(play), []
    scene.job.ask_weights(order(), answers.append)
    failed = WeightsPublished("/w", 10, error="No space left on device", every=10)
    scene.say("w1", failed)
    assert answers == [failed]
    scene.job.ask_weights(order(after=5), answers.append)
    assert answers == [failed]


def test_whoever_leaves_is_forgotten(play):
    scene, answers = training(play), []
    scene.job.ask_weights(order(), answers.append)
    scene.job.drop_weights(order())
    assert orders_of(scene.links["w2"]) == []
    scene.job.drop_weights(order())
    assert orders_of(scene.links["w2"]) is None
    assert answers == []


def test_the_end_of_the_job_answers_everyone_and_later_ones_are_refused(play):
    scene, answers = training(play), []
    scene.job.ask_weights(order(), answers.append)
    scene.job.ask_weights(order("/other", after=40), answers.append)
    last = weights(step=33, every=0)
    scene.say("w1", last)
    for worker in ("w1", "w2"):
        scene.finish(worker)
    assert scene.job.over
    assert answers == [last, None]
    scene.job.ask_weights(order(after=30), answers.append)
    assert answers[2:] == [last]
    with pytest.raises(CoordinatorError, match="job j is finished: no more weights will come") as refused:
        scene.job.ask_weights(order(after=34), answers.append)
    assert refused.value.status == 409


def test_only_a_member_has_weights(play):
    scene = play(start_workers=2)
    scene.start_workers()
    with pytest.raises(ProtocolError, match="has not entered"):
        scene.say("w1", weights())


@pytest.mark.parametrize("seed", range(300))
def test_every_order_is_answered_exactly_once_or_dropped(seed):
    stream, open_orders, publications = random.Random(seed), {}, Publications()
    answers = []
    for number in range(60):
        directory = f"/{stream.randrange(3)}"
        match stream.randrange(4):
            case 0:
                asked, answered = order(directory, 1 + stream.randrange(3), stream.randrange(60)), []
                answers.append((asked, answered))
                publications.ask(asked, answered.append)
                open_orders[directory] = answers[-1]
            case 1:
                publications.published(weights(directory, number, stream.randrange(4)))
            case 2:
                publications.published(WeightsPublished(directory, number, error="full"))
            case 3 if directory in open_orders:
                asked, answered = open_orders.pop(directory)
                assert publications.drop(asked) == (not answered)
                answered.append("dropped")
        assert len({each.directory for each in publications.orders}) == len(publications.orders)
    publications.end()
    assert publications.orders == []
    for asked, answered in answers:
        assert answered
        first, *rest = answered
        assert rest in ([], ["dropped"])
        if isinstance(first, WeightsPublished):
            assert first.directory == asked.directory
            assert first.step >= asked.after
            assert first.error or first.every in (0, asked.every)
