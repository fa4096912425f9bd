"""What ``pliant serve`` is given, in parts."""

import pytest

from pliant.wire.service_api import split_target


@pytest.mark.parametrize(
    ("target", "file", "name"),
    [
        ("digits.py:Digits", "digits.py", "Digits"),
        ("digits.py", "digits.py", ""),
        ("/a:b/net.pt", "/a:b/net.pt", ""),
        ("/a:b/net.py:Net", "/a:b/net.py", "Net"),
        ("net.py:", "net.py:", ""),
        ("net.py:no-name", "net.py:no-name", ""),
    ],
)
def test_file_and_name(target, file, name):
    assert split_target(target) == (file, name)
