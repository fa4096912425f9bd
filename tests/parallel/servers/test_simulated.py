"""Whatever happens to servers, and in whatever order letters arrive, the parameters are those of one process alone."""

import random

import pytest
import torch
from server_cluster import Cluster, undisturbed

from pliant.parallel.servers import brought
from pliant.transfer.row_digests import digest_table

OPTIMIZERS = {
    "momentum": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9),
    "adamw": lambda params: torch.optim.AdamW(params, lr=0.01),
    "adagrad": lambda params: torch.optim.Adagrad(params, lr=0.05),
}
STEPS = 4


@pytest.fixture(scope="module")
def alone():
    """The right bits, by optimizer and clipping."""
    known = {}

    def get(name, clip=0.0, *, table=False):
        key = name, clip, table
        if key not in known:
            known[key] = undisturbed(make_optimizer=OPTIMIZERS[name], steps=STEPS, clip=clip, table=table)
        return known[key]

    return get


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_same_bits_as_one_process(name, alone):
    cluster = Cluster(seed=1, make_optimizer=OPTIMIZERS[name])
    assert cluster.train(STEPS) == alone(name)


@pytest.mark.parametrize(("servers", "workers"), [(1, 1), (1, 3), (4, 1), (5, 4)])
def test_any_number_of_servers_and_workers(servers, workers, alone):
    cluster = Cluster(seed=2, make_optimizer=OPTIMIZERS["adamw"], servers=servers, workers=workers)
    assert cluster.train(STEPS) == alone("adamw")


def test_clipping_by_the_norm_of_all_gradients(alone):
    cluster = Cluster(seed=3, make_optimizer=OPTIMIZERS["momentum"], clip=0.1, twice=0.05)
    assert cluster.train(STEPS) == alone("momentum", 0.1)
    assert alone("momentum", 0.1) != alone("momentum")


@pytest.mark.parametrize(("servers", "workers"), [(1, 1), (3, 2)])
def test_a_table_beside_dense_layers(servers, workers, alone):
    cluster = Cluster(seed=4, make_optimizer=OPTIMIZERS["adamw"], servers=servers, workers=workers, table=True)
    found, wanted = cluster.train(STEPS), alone("adamw", table=True)
    assert found == wanted
    assert len(wanted[-1]) > 50 * (8 + 3 * 4)


@pytest.mark.parametrize("part_bytes", [1, 1 << 30])
def test_rows_are_hashed_in_parts(part_bytes, monkeypatch):
    monkeypatch.setattr(brought, "_DUMP_BYTES", part_bytes)
    cluster = Cluster(seed=5, make_optimizer=OPTIMIZERS["adamw"], table=True)
    cluster.train(STEPS)
    worker = cluster.workers[0]
    state = worker.state("ids")
    wanted = digest_table(state["ids"].numpy(), state["rows"].numpy())
    assert worker.served.row_digests(worker, worker.updates) == {"ids": wanted}
    assert len(set(wanted)) > 10


@pytest.mark.few(15)
@pytest.mark.parametrize("seed", range(60))
def test_servers_die_join_and_hand_over(seed, alone):
    dice = random.Random(seed)
    clip = dice.choice([0.0, 0.1])
    cluster = Cluster(
        seed=seed, make_optimizer=OPTIMIZERS["adamw"], servers=dice.randint(2, 4), workers=dice.randint(1, 3),
        clip=clip, twice=dice.choice([0.0, 0.02]), table=seed % 2 == 0,
    )  # fmt: skip
    for _ in range(8):
        event = dice.choice([cluster.kill_one, cluster.add_one, cluster.move_some])
        cluster.events.setdefault(dice.randint(1, 6000), []).append(event)
    assert cluster.train(STEPS) == alone("adamw", clip, table=seed % 2 == 0)
    assert not cluster.coordinator.lost_slots
