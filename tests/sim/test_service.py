"""The serving deciders under made-up traffic in virtual time."""

import pytest

from pliant.serving.autoscale_plan import Autoscaler, ScaleRules
from pliant.serving.batch_plan import BatchRules
from pliant.sim.arrivals import Arrival, bursty, variation
from pliant.sim.knative import KnativeScaler
from pliant.sim.service import ReplicaModel, ServiceWorld

RULES = ScaleRules(most=16)
BATCH = BatchRules(most_rows=8, most_waiting=100_000)


def play(arrivals, scaler=None, model=None, settle_s=60.0):
    world = ServiceWorld(scaler or Autoscaler(RULES), BATCH, model or ReplicaModel())
    return world.play(arrivals, settle_s=settle_s)


def test_generated_arrivals_have_the_rate_and_the_burstiness_asked_for():
    calm = bursty(rate=20, cv=1.0, duration_s=2000, seed=3)
    assert len(calm) == pytest.approx(40_000, rel=0.03)
    assert variation(calm) == pytest.approx(1.0, rel=0.05)
    assert variation(bursty(rate=20, cv=13, duration_s=20_000, seed=3)) == pytest.approx(13, rel=0.15)


def test_from_nothing_to_nothing():
    result = play([Arrival(5.0)])
    model = ReplicaModel()
    assert result.latencies_s == [pytest.approx(model.start_s + model.fixed_s + model.row_s)]
    assert [count for _, count in result.steps] == [0, 1, 0]
    assert result.replica_s == pytest.approx(model.start_s + 0.04 + RULES.idle_s, abs=2 * RULES.tick_s)


def test_a_crowd_gets_as_many_replicas_at_once_as_it_needs():
    result = play([Arrival(5.0)] * 64)
    model = ReplicaModel()
    assert result.most == 8
    assert result.latencies_s == [pytest.approx(model.start_s + model.batch_s([1.0] * 8))] * 64


@pytest.mark.parametrize("seed", range(5))
def test_bursts_cost_less_than_with_knatives_rule_and_come_out_sooner(seed):
    arrivals = bursty(rate=20, cv=13, duration_s=1800, seed=seed)
    ours, theirs = play(arrivals), play(arrivals, KnativeScaler(RULES))
    assert ours.answered == theirs.answered == len(arrivals)
    assert ours.in_time >= 0.99 * len(arrivals)
    assert ours.in_time > theirs.in_time
    assert ours.replica_s < theirs.replica_s
    assert ours.steps[-1][1] == 0


def test_the_same_traffic_gives_the_same_service():
    arrivals = bursty(rate=10, cv=5, duration_s=300, seed=7)
    assert play(arrivals) == play(arrivals)
