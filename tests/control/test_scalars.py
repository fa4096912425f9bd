import importlib.util
import struct

import pytest

from pliant.control import scalars
from pliant.control.scalars import Scalar, scalars_for

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_values_end_up_in_an_event_file(tmp_path):
    events = pytest.importorskip("tensorboard.compat.proto.event_pb2")
    writer = scalars_for(tmp_path / "tb")
    for step in range(3):
        writer.add(Scalar("train/loss", 1.0 / (step + 1), step, 100.0 + step))
    writer.close(timeout_s=60)

    (file,) = (tmp_path / "tb").iterdir()
    found = [events.Event.FromString(record) for record in records(file.read_bytes())]
    values = [(e.step, v.tag, v.simple_value) for e in found for v in e.summary.value]
    assert values == [(step, "train/loss", pytest.approx(1.0 / (step + 1))) for step in range(3)]


def test_without_tensorboard_or_directory_there_is_no_writer(tmp_path, monkeypatch):
    assert scalars_for(None) is None
    monkeypatch.setattr(scalars.importlib.util, "find_spec", lambda _: None)
    assert scalars_for(tmp_path) is None


def test_a_directory_that_cannot_be_written_is_only_logged(tmp_path, caplog):
    if importlib.util.find_spec("tensorboard") is None:
        pytest.skip("tensorboard is not installed")
    (tmp_path / "file").write_text("in the way")
    writer = scalars_for(tmp_path / "file" / "tb")
    writer.add(Scalar("train/loss", 1.0, 0, 0.0))
    writer.close(timeout_s=60)
    assert "no TensorBoard scalars" in caplog.text


def records(data):
    """TFRecord framing: length, its checksum, the record, its checksum."""
    at = 0
    while at < len(data):
        (size,) = struct.unpack_from("<Q", data, at)
        yield data[at + 12 : at + 12 + size]
        at += size + 16
