"""Tables that grow in files."""

import gc
import os

import pytest
import torch

from pliant.transfer.spool import Spool


def part(first, count):
    ids = torch.arange(first, first + count)
    return {"ids": ids, "rows": ids[:, None] * torch.ones(3), "pending.ids": ids[:1]}


def test_parts_come_together_in_their_order(tmp_path):
    spool = Spool(tmp_path / "deep" / "down")
    for first, count in [(0, 4), (4, 0), (4, 1), (5, 1000)]:
        spool.add(part(first, count))
    found = spool.take()
    assert torch.equal(found["ids"], torch.arange(1005))
    assert torch.equal(found["rows"], torch.arange(1005.0)[:, None] * torch.ones(3))
    assert found["pending.ids"].tolist() == [0, 4, 5]


def test_nothing_is_nothing(tmp_path):
    spool = Spool(tmp_path)
    spool.add(part(0, 0))
    found = spool.take()
    assert {key: (tensor.dtype, tuple(tensor.shape)) for key, tensor in found.items()} == {
        "ids": (torch.int64, (0,)),
        "rows": (torch.float32, (0, 3)),
        "pending.ids": (torch.int64, (0,)),
    }


def open_files(directory):
    return [path for fd in os.listdir("/proc/self/fd") if (path := link(fd)).startswith(str(directory))]


def link(fd):
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""


def test_no_file_is_left_and_none_can_be_seen(tmp_path):
    spool = Spool(tmp_path)
    spool.add(part(0, 9))
    assert not list(tmp_path.iterdir())
    assert len(open_files(tmp_path)) == 3
    found = spool.take()
    assert not list(tmp_path.iterdir())
    rows = found["rows"][3:]
    del found, spool
    gc.collect()
    assert len(open_files(tmp_path)) == 1, "only what is held is there still"
    rows += 1
    assert rows[0].tolist() == [4.0, 4.0, 4.0]
    del rows
    assert not open_files(tmp_path)


def test_a_directory_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        Spool(tmp_path / "file" / "deep")
