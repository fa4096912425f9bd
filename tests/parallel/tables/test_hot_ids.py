"""However often an id is looked up, it is one row of a request; and requests are spread evenly over the slots."""

import numpy as np
import pytest
import torch

from pliant.parallel.tables.lookup import find_unique
from pliant.transfer.row_slots import slot_of
from pliant.wire.server_messages import SLOTS

LOOKUPS, BATCHES = 8192, 40


@pytest.mark.parametrize("exponent", [1.05, 1.2])
def test_hot_ids_are_no_burden_for_a_slot(exponent):
    dice = np.random.default_rng(0)
    looked_up, asked = np.zeros(SLOTS), np.zeros(SLOTS)
    for _ in range(BATCHES):
        ids = dice.zipf(exponent, LOOKUPS)
        looked_up += np.bincount(slot_of(ids), minlength=SLOTS)
        asked += np.bincount(slot_of(find_unique(torch.from_numpy(ids)).ids.numpy()), minlength=SLOTS)
    assert looked_up.max() > 2 * looked_up.mean(), "the ids are not skewed"
    assert asked.max() < 1.35 * asked.mean()
