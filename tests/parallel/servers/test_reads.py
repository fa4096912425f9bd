"""Readers are shown exactly the update that they ask for, whatever happens; and the check of that can fail."""

import random

import pytest
import torch
from reads_history import ReadsBrokenError, Reference
from server_cluster import parameters_of
from watched_cluster import WatchedCluster

from pliant.parallel.servers.replica_state import ReplicaState

STEPS = 3


def adamw(params):
    return torch.optim.AdamW(params, lr=0.01)


@pytest.fixture(scope="module")
def reference():
    """What one process computes, by clipping and table."""
    known = {}

    def get(clip, table):
        if (clip, table) not in known:
            known[clip, table] = Reference(make_optimizer=adamw, steps=STEPS, clip=clip, table=table)
        return known[clip, table]

    return get


def cluster_of(seed, reference, *, faults=24):
    dice = random.Random(seed)
    clip, table = dice.choice([0.0, 0.1]), dice.random() < 0.5
    cluster = WatchedCluster(
        reference=reference(clip, table), seed=seed, make_optimizer=adamw, servers=dice.randint(2, 4),
        workers=dice.randint(1, 3), copies=dice.choice([2, 2, 3]), clip=clip,
        twice=dice.choice([0.0, 0.02]), table=table,
    )  # fmt: skip
    cluster.plan(faults=faults, within=2000)
    return cluster


@pytest.mark.few(8)
@pytest.mark.parametrize("seed", range(40))
def test_readers_are_shown_the_update_that_they_ask_for(seed, reference):
    cluster = cluster_of(seed, reference)
    history = cluster.train(STEPS)
    last = cluster.history.reference.last
    assert parameters_of(cluster.workers[0].model) == last[: len(last) - cluster.table]
    assert history.kinds["params"] >= STEPS * 64 * len(cluster.workers)
    assert bool(history.kinds["rows"]) == cluster.table
    assert not cluster.coordinator.lost_slots


def says_complete_before_copies_have_it(patch):
    patch.setattr(ReplicaState, "complete", lambda self, slot, pass_number: (
        self.is_primary(slot) and self.slots[slot].pass_number == pass_number
    ))  # fmt: skip


def shows_what_there_is(patch):
    def shown(self, slot, number):
        record = self.slots.get(slot)
        return record is not None and record.role == "primary" and not record.update_awaits

    patch.setattr(ReplicaState, "shown", shown)


MISTAKES = [says_complete_before_copies_have_it, shows_what_there_is]


@pytest.mark.parametrize("plant", MISTAKES)
def test_a_mistake_is_found(plant, reference, monkeypatch):
    plant(monkeypatch)
    assert any(broken(seed, reference) for seed in range(60))


def broken(seed, reference):
    """The history of this seed is none that readers were promised."""
    try:
        cluster_of(seed, reference).train(STEPS)
    except ReadsBrokenError:
        return True
    except AssertionError:  # nothing goes on: a mistake, too, but not one that this test is about
        return False
    return False
