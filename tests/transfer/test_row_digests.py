import hashlib

import numpy as np
import pytest

from pliant.transfer.row_digests import digest_rows, digest_table
from pliant.transfer.row_slots import slot_of
from pliant.wire.server_messages import SLOTS


def rows_of(ids, dim=3):
    return (np.asarray(ids)[:, None] * np.arange(1, dim + 1)).astype(np.float32)


def test_ids_and_rows_count():
    ids = np.array([-2, 5], np.int64)
    rows = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    assert digest_rows(ids, rows) == hashlib.sha256(ids.tobytes() + rows.tobytes()).digest()
    assert digest_rows(ids, rows.T.copy().T) == digest_rows(ids, rows)
    assert digest_rows(ids + 1, rows) != digest_rows(ids, rows)
    assert digest_rows(ids, rows + 1) != digest_rows(ids, rows)


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_a_whole_table_has_the_digests_of_its_slots(count):
    ids = np.arange(-count // 2, count - count // 2, dtype=np.int64) * 7
    found = digest_table(ids, rows_of(ids))
    assert len(found) == SLOTS
    for slot in range(SLOTS):
        inside = ids[slot_of(ids) == slot]
        assert found[slot] == digest_rows(inside, rows_of(inside))
