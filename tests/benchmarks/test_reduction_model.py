"""The cost model: what is known in closed form, and the fit finds what it was given."""

from __future__ import annotations

import pytest
from benchmarks.exchange import Measured
from benchmarks.reduction import _features, fit
from benchmarks.reduction_model import FORMS, Link, cost, crossover, table
from benchmarks.spread import Spread

NETWORK = Link(alpha_s=20e-6, overhead_s=3e-6, beta_s=1e-9)


@pytest.mark.parametrize("workers", [2, 3, 4, 8, 4096])
def test_all_forms_send_the_fewest_bytes(workers):
    for form in FORMS:
        assert cost(form, workers, gradient_bytes=1e6, buckets=1, link=NETWORK).size_bytes == pytest.approx(
            2 * (workers - 1) / workers * 1e6
        )


def test_messages_of_eight_workers():
    messages = {form: cost(form, 8, gradient_bytes=1e6, buckets=1, link=NETWORK).messages for form in FORMS}
    assert messages == {"direct": 14, "halving": 6, "ring": 14}


def test_two_workers_do_the_same_in_every_form():
    assert len({cost(form, 2, gradient_bytes=1e6, buckets=3, link=NETWORK).seconds for form in FORMS}) == 1


def test_direct_is_never_slower_than_the_ring():
    costs = table(gradient_bytes=43e6, buckets=5, link=NETWORK)
    by_form = {(each.form, each.workers): each.seconds for each in costs}
    rings = [workers for form, workers in by_form if form == "ring"]
    assert all(by_form["direct", workers] <= by_form["ring", workers] for workers in rings)


def test_halving_is_listed_for_powers_of_two_only():
    costs = table(gradient_bytes=1e6, buckets=1, link=NETWORK, workers=(2, 3, 4, 6))
    assert [each.workers for each in costs if each.form == "halving"] == [2, 4]


def test_crossover_comes_earlier_for_small_gradients():
    small = crossover(gradient_bytes=1e4, buckets=1, link=NETWORK)
    large = crossover(gradient_bytes=1e9, buckets=1, link=NETWORK)
    assert small is not None
    assert large is None or small < large


def test_fit_finds_the_constants_it_was_given():
    points = []
    for workers in (2, 3):
        for size in (1 << 12, 1 << 18, 1 << 24):
            point = Measured(workers, size, 1 + size // (8 << 20), Spread(0.0, 0.0, 0.0, 1))
            alpha, overhead, beta = _features(point, cores=2)
            seconds = alpha * NETWORK.alpha_s + overhead * NETWORK.overhead_s + beta * NETWORK.beta_s
            points.append(Measured(workers, size, point.buckets, Spread(seconds, seconds, seconds, 1)))
    found = fit(points, cores=2)
    assert found.alpha_s == pytest.approx(NETWORK.alpha_s, rel=1e-6)
    assert found.overhead_s == pytest.approx(NETWORK.overhead_s, rel=1e-6)
    assert found.beta_s == pytest.approx(NETWORK.beta_s, rel=1e-6)


def test_unknown_form_is_refused():
    with pytest.raises(ValueError, match="'star' is not one of direct, halving, ring"):
        cost("star", 2, gradient_bytes=1.0, buckets=1, link=NETWORK)
