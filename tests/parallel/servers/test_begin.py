"""What slots begin with comes from a worker a few at a time: all of a table may be more than memory."""

import random
from functools import partial

import pytest
import torch
from server_cluster import Cluster, undisturbed

from pliant.parallel.servers import letters as le
from pliant.parallel.servers.holdings import MOST_BEGINNING
from pliant.wire.server_messages import SLOTS

STEPS = 2
ADAMW = partial(torch.optim.AdamW, lr=0.01)


@pytest.fixture(scope="module")
def alone():
    return undisturbed(make_optimizer=ADAMW, steps=STEPS, table=True)


class Counting(Cluster):
    """Counts what servers have asked for and were not sent."""

    def __init__(self, **given):
        self.asked_for, self.most, self.given = {}, 0, []
        super().__init__(**given)

    def deliver(self, kind, sender, to, letter, frames):
        match letter:
            case le.Blank():
                self.asked_for[sender] = self.asked_for.get(sender, 0) + len(letter.slots)
                self.most = max(self.most, self.asked_for[sender])
            case le.Begin():
                self.asked_for[to] -= 1
                self.given.append(letter.slot)
        super().deliver(kind, sender, to, letter, frames)


def test_few_are_under_way_and_each_is_sent_once():
    cluster = Counting(seed=1, make_optimizer=ADAMW, servers=2, workers=1, table=True)
    cluster.train(1)
    assert sorted(cluster.given) == list(range(SLOTS))
    assert cluster.most == MOST_BEGINNING


@pytest.mark.few(8)
@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_to_servers_meanwhile_and_however_often_it_is_said(seed, alone):
    dice = random.Random(seed)
    cluster = Cluster(
        seed=seed, make_optimizer=ADAMW, servers=3, workers=dice.randrange(1, 4), table=True,
        twice=dice.choice([0.0, 0.3]),
    )  # fmt: skip
    for _ in range(3):
        event = dice.choice([cluster.kill_one, cluster.add_one, cluster.move_some])
        cluster.events.setdefault(dice.randint(1, 400), []).append(event)
    assert cluster.train(STEPS) == alone
