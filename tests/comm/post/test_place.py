import contextlib
import os
import socket
import subprocess

import pytest

from pliant.comm.post.place import (
    LocalPlace,
    NetworkPlace,
    is_local,
    local_endpoint,
    network_endpoint,
    reached,
    remove_file,
    usual_place,
)
from pliant.errors import ConfigError
from pliant.wire.unix_path import reachable


def listening(path):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with reachable(path) as address:
        sock.bind(address)
    sock.listen()
    return sock


@pytest.fixture
def dead_pid():
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_on_one_machine_files_are_usual(tmp_path, host):
    assert usual_place(host, tmp_path) == LocalPlace(tmp_path)


@pytest.mark.parametrize("host", ["10.0.0.7", "0.0.0.0", "fd00::1", "node7"])
def test_between_machines_ports_are_usual(tmp_path, host):
    assert usual_place(host, tmp_path) == NetworkPlace(host)


def test_the_directory_is_made_for_its_owner_alone(tmp_path):
    directory = tmp_path / "jobs" / "post"
    endpoint = local_endpoint(directory, "s1")
    assert endpoint == f"ipc://{directory}/s1.{os.getpid()}.sock"
    assert is_local(endpoint)
    assert directory.stat().st_mode & 0o777 == 0o700


def test_a_relative_directory_is_told_in_full(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "post").mkdir(mode=0o700)
    assert local_endpoint(type(tmp_path)("post"), "s1").startswith(f"ipc://{tmp_path}/post/")


def test_a_directory_that_others_can_enter_is_refused(tmp_path):
    open_one = tmp_path / "open"
    open_one.mkdir()
    open_one.chmod(0o750)
    with pytest.raises(ConfigError, match=r"open is not private \(mode drwxr-x---.*chmod 700"):
        local_endpoint(open_one, "s1")
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="link is not private"):
        local_endpoint(link, "s1")


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot make"):
        local_endpoint(tmp_path / "file" / "post", "s1")


def test_what_dead_processes_left_is_removed_and_nothing_else(tmp_path, dead_pid):
    directory = tmp_path / "post"
    directory.mkdir(mode=0o700)
    left = directory / f"s1.{dead_pid}.sock"
    elsewhere = directory / f"s2.{dead_pid}.sock"
    living = directory / f"s3.{os.getpid()}.sock"
    with contextlib.closing(listening(left)):
        pass
    with contextlib.closing(listening(elsewhere)):  # as by a process that /proc here does not show
        living.touch()
        (directory / "notes.txt").touch()
        (directory / "odd.sock").touch()
        local_endpoint(directory, "s4")
        assert sorted(path.name for path in directory.iterdir()) == sorted(
            [elsewhere.name, living.name, "notes.txt", "odd.sock"]
        )


def test_a_path_of_any_length_is_reached(tmp_path):
    directory = tmp_path / ("d" * 200)
    endpoint = local_endpoint(directory, "s1")
    with contextlib.ExitStack() as stack:
        short = reached(endpoint, stack)
        assert len(short) < 60
        with contextlib.closing(listening(directory / f"s1.{os.getpid()}.sock")):
            assert os.path.exists(short.removeprefix("ipc://"))
    remove_file(endpoint)
    assert list(directory.iterdir()) == []
    remove_file(endpoint)  # again: nothing


def test_a_directory_that_is_gone_is_an_os_error(tmp_path):
    with contextlib.ExitStack() as stack, pytest.raises(FileNotFoundError):
        reached(f"ipc://{tmp_path}/none/s1.sock", stack)


def test_network_endpoints():
    assert network_endpoint("127.0.0.1") == "tcp://127.0.0.1:*"
    assert network_endpoint("::1") == "tcp://[::1]:*"
    assert not is_local(network_endpoint("127.0.0.1"))
    with pytest.raises(ConfigError, match="cannot listen at"):
        network_endpoint("no such host")
