"""Workers that do not wait for each other: every lease is applied once to every slot, whatever is lost or repeated."""

import random

import pytest
from lease_cluster import MOST_LEASES, LeaseCluster, PushesBrokenError, applied, counts

from pliant.parallel.leases.applied import AppliedLeases
from pliant.parallel.servers.replica_state import ReplicaState
from pliant.wire.messages import UNBOUNDED
from pliant.wire.server_messages import SLOTS


def cluster_of(seed, *, faults=20):
    dice = random.Random(seed)
    cluster = LeaseCluster(
        seed=seed, servers=dice.randint(2, 4), workers=dice.randint(1, 4), copies=dice.choice([2, 2, 3]),
        twice=dice.choice([0.0, 0.05]), staleness=dice.choice([UNBOUNDED, 0, 1, 2]),
    )  # fmt: skip
    cluster.plan(faults=faults, within=2500)
    return cluster


def check_end(cluster):
    """Every slot has every lease once, and all who hold it have the same of it."""
    served, found = cluster.workers[0].served, {}
    for slot, name, state, values in cluster.holders():
        if counts(served, slot) and applied(values, f"{name}, slot {slot}") != set(range(MOST_LEASES)):
            raise PushesBrokenError(f"{name} lacks leases in slot {slot}: it has {applied(values, name)}")
        other, same = found.setdefault(slot, (name, state))
        if state != same:
            raise PushesBrokenError(f"{name} and {other} do not hold the same of slot {slot}")
    assert len(found) == SLOTS


def test_undisturbed():
    cluster = cluster_of(0, faults=0)
    cluster.train()
    check_end(cluster)
    assert set(cluster.attempts.values()) == {1}


@pytest.mark.few(10)
@pytest.mark.parametrize("seed", range(40))
def test_every_lease_is_applied_once(seed):
    cluster = cluster_of(seed)
    cluster.train()
    check_end(cluster)
    assert sorted(cluster.attempts) == list(range(MOST_LEASES))
    assert not cluster.coordinator.lost_slots


def forgets_what_was_applied(patch):
    patch.setattr(AppliedLeases, "has", lambda self, lease, part: False)


def does_not_tell_a_new_copy_what_was_applied(patch):
    patch.setattr(AppliedLeases, "from_plain", classmethod(lambda cls, value: cls()))


def shows_before_copies_have_it(patch):
    def shown(self, slot, number):
        record = self.slots.get(slot)
        return record is not None and record.role == "primary" and record.number >= number

    patch.setattr(ReplicaState, "shown", shown)


MISTAKES = [forgets_what_was_applied, does_not_tell_a_new_copy_what_was_applied, shows_before_copies_have_it]


@pytest.mark.few(1)
@pytest.mark.parametrize("plant", MISTAKES)
def test_a_mistake_is_found(plant, monkeypatch):
    plant(monkeypatch)
    assert any(broken(seed) for seed in range(60))


def broken(seed):
    """With this seed a push was applied twice, or not at all, or what was seen was undone."""
    try:
        cluster = cluster_of(seed)
        cluster.train()
        check_end(cluster)
    except PushesBrokenError:
        return True
    except AssertionError:  # nothing goes on: a mistake, too, but not one that this test is about
        return False
    return False
