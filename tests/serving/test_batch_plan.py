"""What goes into a batch, by example and over random histories."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pliant.serving.batch_plan import BatchQueue, BatchRules, Refusal, Waiting


def queue_of(*requests, **rules):
    queue = BatchQueue(BatchRules(**rules))
    for request in requests:
        assert queue.offer(request, now_s=request.arrived_s, slots=1, batch_s=0.0) is None
    return queue


def ids(requests):
    return [request.id for request in requests]


def test_a_batch_is_what_waits_in_the_order_of_arrival():
    queue = queue_of(*(Waiting(n, n / 10) for n in range(5)), most_rows=3)
    assert ids(queue.take(1.0).requests) == [0, 1, 2]
    assert ids(queue.take(1.0).requests) == [3, 4]
    assert queue.take(1.0).requests == ()
    assert (len(queue), queue.rows) == (0, 0)


def test_nobody_waits_for_a_fuller_batch():
    queue = queue_of(Waiting(1, 0.0))
    assert ids(queue.take(0.0).requests) == [1]


def test_unless_told_to():
    queue = queue_of(Waiting(1, 0.0), Waiting(2, 0.004), most_rows=3, wait_s=0.005)
    assert queue.take(0.004).requests == ()
    assert queue.due_s() == pytest.approx(0.005)
    assert ids(queue.take(0.005).requests) == [1, 2]
    assert queue.due_s() is None
    full = queue_of(*(Waiting(n, 0.0) for n in range(3)), most_rows=3, wait_s=5.0)
    assert ids(full.take(0.0).requests) == [0, 1, 2]


def test_only_what_fits_together_and_the_oldest_decides():
    queue = queue_of(*(Waiting(n, 0.0, key=key) for n, key in enumerate("abab")), most_rows=8)
    assert ids(queue.take(0.0).requests) == [0, 2]
    assert ids(queue.take(0.0).requests) == [1, 3]


def test_a_batch_for_each_key_is_what_a_newcomer_expects_to_wait_for():
    queue = queue_of(*(Waiting(n, 0.0, key=n % 3) for n in range(6)), most_rows=4)
    assert queue.expected_wait_s(slots=1, batch_s=0.1) == pytest.approx(0.3)
    queue.take(0.0)
    assert queue.expected_wait_s(slots=1, batch_s=0.1) == pytest.approx(0.2)
    queue.put_back([Waiting(9, 0.0, rows=3, key=1)])
    assert queue.expected_wait_s(slots=2, batch_s=0.1) == pytest.approx(0.15)


def test_requests_of_several_rows_are_not_split():
    queue = queue_of(Waiting(0, 0.0, rows=3), Waiting(1, 0.0, rows=2), Waiting(2, 0.0, rows=1), most_rows=4)
    assert ids(queue.take(0.0).requests) == [0, 2]
    assert ids(queue.take(0.0).requests) == [1]
    refusal = queue.offer(Waiting(3, 0.0, rows=5), now_s=0.0, slots=1, batch_s=0.0)
    assert refusal == Refusal("5 rows; a batch holds 4", retry_after_s=0.0)


def test_who_is_too_late_is_dropped_and_named():
    queue = queue_of(Waiting(0, 0.0, deadline_s=1.0), Waiting(1, 0.0, deadline_s=3.0))
    batch = queue.take(1.0)
    assert (ids(batch.requests), ids(batch.expired)) == ([1], [0])


def test_who_would_be_too_late_is_refused_at_once():
    queue = queue_of(*(Waiting(n, 0.0) for n in range(4)), most_rows=2)
    late = queue.offer(Waiting(9, 0.0, deadline_s=0.25), now_s=0.0, slots=1, batch_s=0.1)
    assert late is not None
    assert late.late
    assert late.reason == "0.250 s are left, 0.300 s will be needed"
    assert queue.offer(Waiting(9, 0.0, deadline_s=0.25), now_s=0.0, slots=2, batch_s=0.1) is None


def test_the_queue_is_bounded():
    queue = queue_of(*(Waiting(n, 0.0) for n in range(4)), most_rows=2, most_waiting=4)
    full = queue.offer(Waiting(9, 0.0), now_s=0.0, slots=1, batch_s=1.0)
    assert full == Refusal("4 rows are waiting", retry_after_s=1.0)
    assert len(queue) == 4


def test_a_dead_replicas_requests_come_first_and_are_never_refused():
    queue = queue_of(*(Waiting(n, 0.0) for n in range(4)), most_rows=2, most_waiting=4)
    first = queue.take(0.0).requests
    assert queue.offer(Waiting(4, 0.0), now_s=0.0, slots=1, batch_s=0.0) is None
    assert queue.offer(Waiting(5, 0.0), now_s=0.0, slots=1, batch_s=0.0) is None
    queue.put_back(first)
    assert queue.rows == 6
    assert [ids(queue.take(0.0).requests) for _ in range(3)] == [[0, 1], [2, 3], [4, 5]]


def test_a_client_that_is_gone():
    queue = queue_of(Waiting(0, 0.0), Waiting(1, 0.0, rows=2))
    queue.drop(1)
    queue.drop(1)
    queue.drop(77)
    assert (len(queue), queue.rows) == (1, 1)
    assert ids(queue.take(0.0).requests) == [0]


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.integers(1, 5), st.sampled_from("ab"), st.floats(0, 3)),
        st.tuples(st.just("take"), st.floats(0, 1)),
        st.tuples(st.just("die")),
        st.tuples(st.just("drop"), st.integers(0, 40)),
    ),
    max_size=80,
)


@given(ACTIONS, st.sampled_from([0.0, 0.3]))
def test_every_request_ends_exactly_once(actions, wait_s):
    queue = BatchQueue(BatchRules(most_rows=4, most_waiting=12, wait_s=wait_s))
    now_s, waiting, computing, ended = 0.0, {}, [], []
    for number, (what, *more) in enumerate(actions):
        if what == "offer":
            rows, key, left_s = more
            request = Waiting(number, now_s, rows=rows, key=key, deadline_s=now_s + left_s)
            if queue.offer(request, now_s=now_s, slots=1, batch_s=0.0) is None:
                waiting[number] = request
        elif what == "take":
            now_s += more[0]
            batch = queue.take(now_s)
            ended += [request.id for request in batch.expired]
            computing += batch.requests
            assert sum(request.rows for request in batch.requests) <= 4
            assert len({request.key for request in batch.requests}) <= 1
            assert all(request.deadline_s <= now_s for request in batch.expired)
            for request in (*batch.requests, *batch.expired):
                del waiting[request.id]
        elif what == "die":
            queue.put_back(computing)
            waiting |= {request.id: request for request in computing}
            computing = []
        elif more[0] in waiting:
            queue.drop(more[0])
            del waiting[more[0]]
        assert (len(queue), queue.rows) == (len(waiting), sum(request.rows for request in waiting.values()))
    while waiting:
        now_s += 1
        batch = queue.take(now_s)
        for request in (*batch.requests, *batch.expired):
            del waiting[request.id]
            ended.append(request.id)
    ended += [request.id for request in computing]
    assert len(ended) == len(set(ended))
    assert queue.take(now_s + 9).requests == ()
