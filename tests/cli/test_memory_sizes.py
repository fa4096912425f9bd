import pytest

from pliant.cli.memory_sizes import memory_bytes

SIZES = {
    "2GiB": 2 << 30,
    "2G": 2 << 30,
    "2GB": 2_000_000_000,
    "1.5 mib": 3 << 19,
    "500MB": 500_000_000,
    "3k": 3072,
    "1T": 1 << 40,
    "4096": 4096,
    "4096b": 4096,
}


@pytest.mark.parametrize("text", SIZES)
def test_sizes(text):
    problems = []
    assert memory_bytes("--server-memory", text, problems) == SIZES[text]
    assert problems == []


@pytest.mark.parametrize("text", ["", "much", "-1GiB", "1e9", "2 GiB or so", "GiB", "1PiB", "nan", "2ib"])
def test_what_is_no_size(text):
    problems = []
    assert memory_bytes("--server-memory", text, problems) is None
    assert len(problems) == 1
    assert "--server-memory 2GiB" in problems[0]


@pytest.mark.parametrize("text", ["0", "0GiB", "1023"])
def test_too_little(text):
    problems = []
    assert memory_bytes("--server-memory", text, problems, least=1024) is None
    assert "1,024 bytes" in problems[0]
