import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from table_model import raw

from pliant.errors import UsageError
from pliant.parallel.tables.lookup import POOL_MODES, find_bags, find_unique, gather, pool

INT64 = st.one_of(st.integers(0, 9), st.sampled_from([-(2**63), 2**63 - 1, -1]))


@pytest.fixture(params=[False, True], ids=["any", "deterministic"])
def _algorithms(request):
    torch.use_deterministic_algorithms(request.param)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def values(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sizes = 10.0 ** torch.randint(-3, 4, shape, generator=generator)
    return torch.randn(shape, generator=generator) * sizes


def rows_for(lookup, dim=5):
    return values(len(lookup.ids), dim, seed=1).requires_grad_()


def summed_by_hand(grads, places, rows):
    """One after the other, in the order of the places."""
    total = torch.zeros(rows, grads.shape[-1])
    for place, row in enumerate(places.tolist()):
        total[row] = total[row] + grads[place]
    return total


@given(st.lists(INT64, max_size=30))
def test_each_id_is_wanted_once(ids):
    flat = torch.tensor(ids, dtype=torch.int64)
    lookup = find_unique(flat)
    assert lookup.ids.tolist() == sorted(set(ids))
    assert lookup.ids[lookup.inverse].tolist() == ids
    assert lookup.order.tolist() == sorted(range(len(ids)), key=lambda place: ids[place])
    ends = [*lookup.starts.tolist()[1:], len(ids)]
    for number, (start, end) in enumerate(zip(lookup.starts.tolist(), ends, strict=False)):
        assert {ids[place] for place in lookup.order[start:end].tolist()} == {lookup.ids[number].item()}


@pytest.mark.parametrize("shape", [(), (7,), (3, 4), (2, 0, 3), (0,), (2, 3, 2)])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_any_shape_of_ids(shape, dtype):
    ids = torch.randint(0, 5, shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    lookup = find_unique(ids)
    rows = rows_for(lookup)
    found = gather(rows, lookup)
    assert found.shape == (*shape, 5)
    for place, one in enumerate(ids.reshape(-1).tolist()):
        assert torch.equal(found.reshape(-1, 5)[place], rows[lookup.ids.tolist().index(one)])
    found.sum().backward()
    assert rows.grad.sum() == found.numel()


@pytest.mark.usefixtures("_algorithms")
@given(st.lists(st.integers(0, 6), max_size=60), st.sampled_from([1, 5, 8, 33]))
def test_a_gradient_is_summed_in_the_order_of_the_places(ids, dim):
    lookup = find_unique(torch.tensor(ids, dtype=torch.int64))
    rows = rows_for(lookup, dim)
    weights = values(len(ids), dim, seed=2)
    gather(rows, lookup).backward(weights)
    assert raw(rows.grad) == raw(summed_by_hand(weights, lookup.inverse, len(lookup.ids)))


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("mode", POOL_MODES)
def test_bits_do_not_depend_on_the_number_of_threads(mode):
    ids = (torch.rand(40_000, generator=torch.Generator().manual_seed(3)) ** 4 * 3000).long()
    bags = find_bags(torch.arange(0, 40_000, 7), places=40_000)
    lookup = find_unique(ids)
    found = []
    for threads in (1, 2, 3, 5):
        torch.set_num_threads(threads)
        rows = rows_for(lookup, 16)
        single, pooled = gather(rows, lookup), pool(rows, lookup, bags, mode=mode)
        (single * values(*single.shape, seed=4)).sum().backward()
        (pooled * values(*pooled.shape, seed=5)).sum().backward()
        found.append((raw(single.detach()), raw(pooled.detach()), raw(rows.grad)))
    assert found[1:] == found[:1] * 3


@st.composite
def ragged(draw):
    lengths = draw(st.lists(st.integers(0, 5), max_size=8))
    ids = draw(st.lists(st.integers(0, 6), min_size=sum(lengths), max_size=sum(lengths)))
    return torch.tensor(ids, dtype=torch.int64), lengths


def starts_of(lengths):
    return torch.tensor([sum(lengths[:number]) for number in range(len(lengths))], dtype=torch.int64)


@pytest.mark.usefixtures("_algorithms")
@pytest.mark.parametrize("mode", POOL_MODES)
@given(ragged(), st.sampled_from([1, 5, 8]))
def test_pooling_is_what_is_written_out_by_hand(mode, case, dim):
    ids, lengths = case
    lookup = find_unique(ids)
    rows = rows_for(lookup, dim)
    found = pool(rows, lookup, find_bags(starts_of(lengths), places=len(ids)), mode=mode)
    weights = values(len(lengths), dim, seed=6)
    found.backward(weights)
    plain = rows.detach().clone()
    expected, grads = [], []
    for bag, places in zip(weights, lookup.inverse.split(lengths), strict=True):
        inside = plain[places]
        if mode == "max":
            largest = inside.max(dim=0).values if len(places) else torch.zeros(dim)
            # The first of those that are equally large.
            chosen = (inside == largest).to(torch.int8).argmax(dim=0) if len(places) else largest
            expected.append(largest)
            grads += [torch.where(chosen == number, bag, 0.0) for number in range(len(places))]
        else:
            share = max(len(places), 1) if mode == "mean" else 1
            expected.append(summed_by_hand(inside, torch.zeros(len(places)).long(), 1)[0] / share)
            grads += [bag / share] * len(places)
    assert raw(found.detach()) == raw(torch.stack(expected) if expected else torch.empty(0, dim))
    total = summed_by_hand(torch.stack(grads) if grads else torch.empty(0, dim), lookup.inverse, len(plain))
    if mode == "max":
        torch.testing.assert_close(rows.grad, total)
    else:
        assert raw(rows.grad) == raw(total)


@pytest.mark.parametrize("mode", POOL_MODES)
def test_pooling_is_that_of_torch(mode):
    ids = torch.randint(0, 50, (400,), generator=torch.Generator().manual_seed(0))
    offsets = torch.arange(0, 400, 8)
    lookup = find_unique(ids)
    rows = rows_for(lookup)
    bag = torch.nn.EmbeddingBag(len(rows), 5, mode=mode, _weight=rows.detach().clone())
    ours, theirs = pool(rows, lookup, find_bags(offsets, places=400), mode=mode), bag(lookup.inverse, offsets)
    torch.testing.assert_close(ours, theirs)
    weights = torch.randn(50, 5, generator=torch.Generator().manual_seed(2))
    ours.backward(weights)
    theirs.backward(weights)
    torch.testing.assert_close(rows.grad, bag.weight.grad)


@pytest.mark.parametrize("mode", POOL_MODES)
def test_bags_that_are_all_empty(mode):
    lookup = find_unique(torch.empty(0, dtype=torch.int64))
    rows = torch.empty(0, 4, requires_grad=True)
    found = pool(rows, lookup, find_bags(torch.tensor([0, 0, 0]), places=0), mode=mode)
    assert torch.equal(found, torch.zeros(3, 4))
    found.sum().backward()
    assert rows.grad.shape == (0, 4)


def test_equal_largest_values_give_the_gradient_to_the_first():
    lookup = find_unique(torch.tensor([9, 3, 9]))
    rows = torch.ones(2, 1, requires_grad=True)
    pool(rows, lookup, find_bags(torch.tensor([0]), places=3), mode="max").sum().backward()
    assert rows.grad.tolist() == [[0.0], [1.0]]  # row 1 is id 9


@pytest.mark.parametrize("ids", [torch.tensor([1.0]), torch.tensor([True]), torch.tensor([1j])])
def test_ids_must_be_integers(ids):
    with pytest.raises(UsageError, match=r"ids to look up are torch\..*must be integers"):
        find_unique(ids)


@pytest.mark.parametrize(
    ("offsets", "places"), [([1, 2], 3), ([0, 2, 1], 3), ([0, 4], 3), ([], 3), ([-1, 0], 3), (list(range(9, 20)), 30)]
)
def test_offsets_must_make_sense(offsets, places):
    with pytest.raises(UsageError, match=f"offsets must begin with 0, not fall, and not go beyond the {places} ids"):
        find_bags(torch.tensor(offsets, dtype=torch.int64), places=places)


def test_offsets_have_one_dimension():
    with pytest.raises(UsageError, match="one dimension"):
        find_bags(torch.tensor([[0]]), places=0)


def test_a_gradient_that_is_spread_over_places():
    """Gradients come as views, of one number for example."""
    lookup = find_unique(torch.tensor([4, 4, 2]))
    rows = rows_for(lookup)
    gather(rows, lookup).sum().backward()
    assert torch.equal(rows.grad, torch.tensor([[1.0], [2.0]]).expand(2, 5))
