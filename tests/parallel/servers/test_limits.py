"""A limit of a server's memory refuses newcomers' slots and primaries' rows, but never what a copy has to follow."""

import pytest
import torch
from server_cluster import Cluster, undisturbed

from pliant.parallel.servers import letters as le
from pliant.parallel.tables.budget import Budget

STEPS = 3


def make_optimizer(params):
    return torch.optim.SGD(params, lr=0.1)


class TroubleToldError(Exception):
    """A worker was told that it cannot be done."""


def limit(cluster, server, limit_bytes):
    """Rows of this server are held to a limit from now on."""
    for store in cluster.servers[server].tables:
        store.share(Budget(limit_bytes))


def trained(cluster, steps):
    """So many steps; what a worker is told of a server without room is raised."""

    def check(worker):
        if worker.talk.trouble is not None:
            raise TroubleToldError(worker.talk.trouble)

    for worker in cluster.workers:
        worker.check = lambda worker=worker: check(worker)
    return cluster.train(steps)


@pytest.mark.parametrize("seed", range(3))
def test_a_newcomer_without_room_refuses_its_slots_and_keeps_nothing_of_them(seed):
    cluster = Cluster(seed=seed, make_optimizer=make_optimizer, servers=2, table=True)
    cluster.train(1)
    name = cluster.new_server()
    limit(cluster, name, 1)
    cluster.coordinator.servers.append(name)
    cluster.coordinator.move(5, name)
    cluster.run_until(lambda: cluster.refused)
    server, said = cluster.refused[0]
    assert (server, said.slots) == (name, [5])
    assert "more rows beside the 0 on this server" in said.why
    assert not any(store.rows for store in cluster.servers[name].tables)
    assert cluster.servers[name].state.is_newcomer(5)
    assert cluster.train(STEPS - 1) == undisturbed(make_optimizer=make_optimizer, steps=STEPS, table=True)
    assert not any(name in holders for holders, _ in cluster.coordinator.places)


def test_a_copy_follows_beyond_its_limit_and_never_differs():
    cluster = Cluster(seed=4, make_optimizer=make_optimizer, servers=2, table=True)
    cluster.coordinator.places = [[["s1", "s2"], []] for _ in cluster.coordinator.places]
    cluster.coordinator.publish()
    limit(cluster, "s2", 1)
    cluster.train(2)
    cluster.kill("s1")
    for store in cluster.servers["s2"].tables:
        assert store.rows
        store.share(Budget())
    assert cluster.train(1) == undisturbed(make_optimizer=make_optimizer, steps=STEPS, table=True)


def test_a_primary_without_room_tells_the_worker_which_server_and_does_nothing_more():
    cluster = Cluster(seed=5, make_optimizer=make_optimizer, servers=2, table=True)
    limit(cluster, "s1", 1)
    with pytest.raises(TroubleToldError, match=r"^server s1: table ids: .* more rows beside the 0 on this server"):
        trained(cluster, 1)
    told = []
    cluster.net.put = lambda kind, sender, to, letter, frames: told.append((sender, to, letter))
    version = cluster.servers["s1"].state.version
    cluster.servers["s1"].handle("w9", le.Update(version, 1, 0, "", b"", [], era=1), [])
    ((sender, to, letter),) = told
    assert (sender, to) == ("s1", "w9")
    assert letter.error.startswith("server s1: table ids")
