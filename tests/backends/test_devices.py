"""Which GPUs are seen, and how they are dealt."""

import pytest

from pliant.backends.devices import Devices, visible_gpus


@pytest.fixture
def dev(tmp_path):
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    return tmp_path


def test_counts_device_files_only(dev):
    assert visible_gpus({}, dev=dev) == ["0", "1"]


def test_none_without_device_files(tmp_path):
    assert visible_gpus({}, dev=tmp_path) == []


@pytest.mark.parametrize(
    ("value", "names"),
    [("", []), ("-1", []), ("1", ["1"]), ("1,0", ["1", "0"]), ("GPU-a, GPU-b", ["GPU-a", "GPU-b"]), ("0,-1,1", ["0"])],
)
def test_the_environment_decides(dev, value, names):
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": value}, dev=dev) == names


def test_deals_the_freest_device_and_takes_it_back():
    devices = Devices(["0", "1"])
    dealt = [devices.take(worker)["CUDA_VISIBLE_DEVICES"] for worker in ("w1", "w2", "w3")]
    assert dealt == ["0", "1", "0"]
    devices.give_back("w2")
    assert devices.take("w4") == {"CUDA_VISIBLE_DEVICES": "1"}


def test_without_gpus_the_environment_stays_as_it_is():
    devices = Devices([])
    assert devices.take("w1") == {}
    devices.give_back("w1")
