import os
import stat
import threading

import pytest

from pliant.errors import ConfigError
from pliant.wire.token import create_token, read_token, token_matches


def test_created_once_for_the_owner_only(tmp_path):
    path = tmp_path / "home" / "token"
    token = create_token(path)
    assert len(token) == 64
    assert create_token(path) == read_token(path) == token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert os.listdir(path.parent) == ["token"]


def test_everyone_gets_the_same_when_created_at_once(tmp_path):
    barrier = threading.Barrier(8)
    tokens = []

    def create():
        barrier.wait()
        tokens.append(create_token(tmp_path / "token"))

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tokens) == 8
    assert len(set(tokens)) == 1
    assert os.listdir(tmp_path) == ["token"]


def test_two_homes_differ(tmp_path):
    assert create_token(tmp_path / "a") != create_token(tmp_path / "b")


def test_missing(tmp_path):
    with pytest.raises(ConfigError, match="pliant up"):
        read_token(tmp_path / "token")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_readable_by_others_is_refused(tmp_path, mode):
    path = tmp_path / "token"
    create_token(path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"mode {mode:04o}.*chmod 600"):
        read_token(path)


@pytest.mark.parametrize(("content", "word"), [(b"", "empty"), (b"\n", "empty"), (b"\xff", "cannot read")])
def test_damaged(tmp_path, content, word):
    path = tmp_path / "token"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=word):
        read_token(path)


def test_comparison():
    assert token_matches("abc", "abc")
    for wrong in ("", "ab", "abcd", "ABC", "\xe9", "\udcff"):
        assert not token_matches(wrong, "abc")
