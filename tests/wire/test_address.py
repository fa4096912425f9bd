import os
import stat
import subprocess
import sys

import pytest

from pliant.config import Home
from pliant.wire.address import Address, agents_url, read_address, remove_address, workers_url, write_address


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def test_written_and_read(home):
    assert read_address(home) is None
    address = Address(os.getpid(), "127.0.0.1", 1234)
    write_address(home, address)
    assert read_address(home) == address
    assert stat.S_IMODE(home.coordinator.stat().st_mode) == 0o600
    assert os.listdir(home.path) == ["coordinator.json"]


def test_urls_follow_the_file(home):
    worker, agent = workers_url(home), agents_url(home)
    assert worker() is None
    for port in (1, 2):
        write_address(home, Address(os.getpid(), "127.0.0.1", port))
        assert worker() == f"ws://127.0.0.1:{port}/v1/workers"
        assert agent() == f"ws://127.0.0.1:{port}/v1/agents"


def test_of_a_dead_process_is_none(home):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    write_address(home, Address(process.pid, "127.0.0.1", 1))
    assert read_address(home) is None


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"pid": 0', b'{"pid":99999999999999999,"host":"h","port":1}'])
def test_damaged_is_none(home, content):
    home.coordinator.write_bytes(content)
    assert read_address(home) is None


def test_only_its_writer_removes_it(home):
    write_address(home, Address(os.getpid(), "127.0.0.1", 1))
    remove_address(home, pid=os.getpid() + 1)
    assert read_address(home) is not None
    remove_address(home, pid=os.getpid())
    assert not home.coordinator.exists()
    remove_address(home, pid=os.getpid())
