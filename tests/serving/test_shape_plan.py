"""Which requests share a batch and what they are padded to, by example and over random shapes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pliant.serving.batch_plan import BatchQueue, BatchRules, Waiting
from pliant.serving.shape_plan import batch_key, misfits, padded_sizes, sizes_of
from pliant.wire.tensors import Signature, TensorHead, TensorSpec

TOKENS = TensorSpec("tokens", "INT64", (-1,), ("length",))
MASK = TensorSpec("mask", "FP32", (-1, 2), ("length", ""))
IMAGE = TensorSpec("image", "FP32", (3, -1, -1), ("", "height", "width"))


def text(*buckets, **more):
    return Signature((TOKENS, MASK), pads={"length": buckets}, **more)


def heads(length, *, mask=None, rows=1):
    mask = length if mask is None else mask
    return TensorHead("tokens", "INT64", (rows, length)), TensorHead("mask", "FP32", (rows, mask, 2))


def shapes(length, **more):
    return {head.name: head.shape for head in heads(length, **more)}


def test_without_padding_only_requests_of_one_size_share_a_batch():
    signature = Signature((TOKENS, MASK))
    assert batch_key(heads(3, rows=1), signature) == batch_key(heads(3, rows=5), signature)
    assert batch_key(heads(3), signature) != batch_key(heads(4), signature)
    told = Signature((TOKENS, MASK), told=("length",))
    assert batch_key(heads(3), told) != batch_key(heads(4), told)


def test_requests_of_one_bucket_share_a_batch():
    signature = text(8, 16)
    assert batch_key(heads(1), signature) == batch_key(heads(8), signature)
    assert batch_key(heads(8), signature) != batch_key(heads(9), signature)
    assert batch_key(heads(9), signature) == batch_key(heads(16), signature)
    assert padded_sizes([{"length": 1}, {"length": 7}], signature) == {"length": 8}
    assert padded_sizes([{"length": 9}], signature) == {"length": 16}


def test_without_buckets_all_do_and_the_longest_decides():
    signature = text()
    assert batch_key(heads(1), signature) == batch_key(heads(900), signature)
    assert padded_sizes([{"length": 1}, {"length": 900}, {"length": 7}], signature) == {"length": 900}


def test_every_padded_dimension_counts_and_the_others_keep_requests_apart():
    signature = Signature((IMAGE,), pads={"height": (8, 16)})

    def key(*shape):
        return batch_key([TensorHead("image", "FP32", (1, *shape))], signature)

    assert key(3, 5, 4) == key(3, 8, 4)
    assert len({key(3, 5, 4), key(3, 9, 4), key(3, 5, 5)}) == 3


def test_a_model_that_collates_by_itself_takes_any_size_that_is_open():
    signature = Signature((TensorSpec("points", "FP32", (-1, 3)),), collates=True)

    def key(*shape, datatype="FP32"):
        return batch_key([TensorHead("points", datatype, (1, *shape))], signature)

    assert key(1, 3) == key(99, 3)
    anything = Signature(collates=True)
    assert batch_key(heads(1), anything) == batch_key(heads(5), anything)
    both = Signature((IMAGE,), pads={"height": (8, 16)}, collates=True)
    wide, high, higher = ([TensorHead("image", "FP32", (1, 3, *sizes))] for sizes in ((2, 90), (8, 1), (9, 1)))
    assert batch_key(wide, both) == batch_key(high, both) != batch_key(higher, both)


def test_what_cannot_be_is_told():
    signature = text(8, 16)
    assert misfits(shapes(16), signature) == []
    assert misfits(shapes(0), signature) == []
    assert misfits(shapes(17), signature) == [
        "input tokens has length 17; at most 16 is taken",
        "input mask has length 17; at most 16 is taken",
    ]
    assert misfits(shapes(3, mask=4), Signature((TOKENS, MASK))) == [
        "input mask has length 4, and input tokens has length 3: they should be equal"
    ]
    assert misfits(shapes(999), text()) == []


BUCKETS = st.lists(st.integers(1, 40), max_size=4, unique=True).map(lambda sizes: tuple(sorted(sizes)))


@given(BUCKETS, BUCKETS, st.lists(st.tuples(st.integers(0, 45), st.integers(0, 45)), min_size=1, max_size=12))
def test_whatever_shares_a_batch_has_one_shape_once_it_is_padded(high, wide, sizes):
    signature = Signature((IMAGE,), pads={"height": high, "width": wide})
    together: dict = {}
    for height, width in sizes:
        head = TensorHead("image", "FP32", (1, 3, height, width))
        if not misfits({"image": head.shape}, signature):
            together.setdefault(batch_key([head], signature), []).append(sizes_of({"image": head.shape}, signature))
    for batch in together.values():
        whole = padded_sizes(batch, signature)
        for dim, buckets in (("height", high), ("width", wide)):
            own = [request[dim] for request in batch]
            if buckets:  # the very same, whatever else is in the batch
                assert {padded_sizes([request], signature)[dim] for request in batch} == {whole[dim]}
                assert whole[dim] in buckets
                assert all(size not in range(max(own), whole[dim]) for size in buckets)
            else:
                assert whole[dim] == max(own)
            assert max(own) <= whole[dim]


@pytest.mark.parametrize("buckets", [(), (4, 8, 16, 64)])
@given(
    arrivals=st.lists(st.tuples(st.integers(1, 64), st.integers(1, 3), st.booleans()), min_size=1, max_size=60),
    most_rows=st.integers(3, 8),
)
def test_no_size_starves(buckets, arrivals, most_rows):
    """Whoever has n requests before it is taken with the n-th batch after that at the latest."""
    signature = text(*buckets)
    queue = BatchQueue(BatchRules(most_rows=most_rows, most_waiting=1 << 20))
    batches, latest = 0, {}
    for number, (length, rows, takes) in enumerate(arrivals):
        key = batch_key(heads(length, rows=rows), signature)
        before = len(queue)
        assert queue.offer(Waiting(number, float(number), rows, key), now_s=0.0, slots=1, batch_s=0.0) is None
        latest[number] = batches + before + 1
        if takes:
            batches += 1
            for request in queue.take(float(number)).requests:
                assert batches <= latest.pop(request.id)
    while len(queue):
        batches += 1
        taken = queue.take(float(len(arrivals))).requests
        assert min(latest) == taken[0].id, "the oldest decides"
        assert len({request.key for request in taken}) == 1
        for request in taken:
            assert batches <= latest.pop(request.id)
    assert latest == {}
