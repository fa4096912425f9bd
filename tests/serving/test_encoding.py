"""Compressed bodies: unpacked within the limit, and everything else is the client's mistake."""

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pliant.serving.protocol.encoding import decoded
from pliant.serving.protocol.request import BadRequestError


def zipped(body):
    """Without the time, which would be another one in each process that collects the tests."""
    return gzip.compress(body, mtime=0)


PACK = {"gzip": zipped, "x-gzip": zipped, " GZIP ": zipped, "deflate": zlib.compress}


@given(st.binary(max_size=500), st.sampled_from([*PACK, "", "identity"]))
def test_there_and_back(body, name):
    packed = PACK.get(name, bytes)(body)
    assert decoded(packed, name, most_bytes=500) == body


@pytest.mark.parametrize("name", ["gzip", "deflate"])
def test_a_bomb_is_not_unpacked(name):
    bomb = PACK[name](bytes(50_000_000))
    assert len(bomb) < 50_000
    tracemalloc.start()
    with pytest.raises(BadRequestError, match="unpacked, the body has more than 100000 bytes") as caught:
        decoded(bomb, name, most_bytes=100_000)
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.status == 413
    assert most_bytes < 1_000_000


@pytest.mark.parametrize("name", ["br", "zstd", "gzip, gzip", "gzip, deflate", "chunked"])
def test_other_encodings(name):
    with pytest.raises(BadRequestError, match="expected one of gzip and deflate, or none") as caught:
        decoded(b"body", name, most_bytes=100)
    assert caught.value.status == 415


@pytest.mark.parametrize(
    ("packed", "name", "told"),
    [
        (b"[[1, 2, 3]]", "gzip", "not what Content-Encoding says, gzip"),
        (zipped(b"body"), "deflate", "not what Content-Encoding says, deflate"),
        (zlib.compress(b"body"), "gzip", "not what Content-Encoding says, gzip"),
        (zipped(b"body")[:-1], "gzip", "gzip data without their end: 23 bytes came"),
        (b"", "deflate", "deflate data without their end: 0 bytes came"),
        (zipped(b"body") + b"more", "gzip", "4 bytes are left behind the end"),
    ],
)
def test_damaged_bodies(packed, name, told):
    with pytest.raises(BadRequestError, match=told) as caught:
        decoded(packed, name, most_bytes=100)
    assert caught.value.status == 400


@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate"]), st.integers(0, 50))
def test_any_bytes_are_unpacked_or_told(body, name, cut):
    for packed in (body, PACK[name](body)[cut:], PACK[name](body)[:-cut] + body):
        try:
            unpacked = decoded(packed, name, most_bytes=100)
        except BadRequestError:
            continue
        assert len(unpacked) <= 100
