"""The first values of rows: a pure function of (seed, table, row id), with the same bits on any machine, in any batch.

A row's random words are the SplitMix64 sequence (see ``slots.py``) that starts from a hash of seed, table and id. The
way from words to float32 has integers only, and one multiplication at its end, which IEEE 754 fixes to the bit:

* ``uniform``: the upper 24 bits of each half of a word, as the odd numbers around 0, times ``scale * 2**-24``.
* ``normal``: eight numbers of 16 bits, added up (Irwin and Hall): no logarithm, whose last bit differs between
  mathematical libraries. Its fourth moment is 5 % below the normal one's, and no value is further out than 4.9
  standard deviations.

Changing any of this changes every job's result: ``tests/parallel/tables/test_init_rows.py`` has fixed bytes.
"""

from __future__ import annotations

import hashlib
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from pliant.transfer.row_slots import GOLDEN, finalized
from pliant.wire.tables import RowInit, TableSpec

_BLOCK_WORDS = 1 << 16
"""Words made at a time: half a megabyte, which stays in the cache."""
_UNIFORM_BITS = 24
_NORMAL_PARTS = 8
_LOW_LANES = np.uint64(0x0000FFFF0000FFFF)
_LOW_HALF = np.uint64(0x00000000FFFFFFFF)


def initial_rows(spec: TableSpec, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """The rows that ``ids`` begin with: (ids, dim)."""
    rows = np.zeros((len(ids), spec.dim), np.float32)
    if spec.init.kind == "zeros":
        return rows
    key = table_key(spec)
    per_row = _words_per_row(spec)
    block = max(1, _BLOCK_WORDS // per_row)
    for start in range(0, len(ids), block):
        words = row_words(key, ids[start : start + block], per_row)
        rows[start : start + block] = _values(spec.init, words, spec.dim)
    return rows


def table_key(spec: TableSpec) -> np.uint64:
    """What tells the tables and seeds apart."""
    # repr of a tuple of an int and a string is unambiguous.
    named = repr((spec.seed, spec.name)).encode("utf-8", "backslashreplace")
    return np.uint64(int.from_bytes(hashlib.blake2b(named, digest_size=8).digest(), "little"))


def row_words(key: np.uint64, ids: NDArray[np.int64], count: int) -> NDArray[np.uint64]:
    """``count`` random words for each id."""
    start = finalized(finalized(ids.view(np.uint64) + GOLDEN) ^ key)
    return finalized(start[:, None] + np.arange(1, count + 1, dtype=np.uint64) * GOLDEN)


def _words_per_row(spec: TableSpec) -> int:
    return 2 * spec.dim if spec.init.kind == "normal" else (spec.dim + 1) // 2


def _values(init: RowInit, words: NDArray[np.uint64], dim: int) -> NDArray[np.float32]:
    if init.kind == "normal":
        whole, factor = _irwin_hall(words), init.scale / sqrt(_NORMAL_PARTS * (2.0**32 - 1) / 3)
    else:
        whole, factor = _odd_numbers(words)[:, :dim], init.scale * 2.0**-_UNIFORM_BITS
    # All these integers have at most 24 bits, so that the conversion is exact.
    return np.multiply(whole.astype(np.float32), np.float32(factor))


def _odd_numbers(words: NDArray[np.uint64]) -> NDArray[np.int32]:
    """Two for each word, between -2**24 and 2**24."""
    halves = words.astype("<u8", copy=False).view("<u4")
    odd = (halves >> np.uint32(32 - _UNIFORM_BITS)) * np.uint32(2) + np.uint32(1)
    return odd.astype(np.int32) - np.int32(1 << _UNIFORM_BITS)


def _irwin_hall(words: NDArray[np.uint64]) -> NDArray[np.int32]:
    """Twice the distance of a sum of eight 16-bit numbers from its mean; one for every two words."""
    lanes = (words & _LOW_LANES) + ((words >> np.uint64(16)) & _LOW_LANES)  # two sums in each word
    both = lanes[:, 0::2] + lanes[:, 1::2]
    total = ((both & _LOW_HALF) + (both >> np.uint64(32))).astype(np.int32)
    return total * np.int32(2) - np.int32(_NORMAL_PARTS * 0xFFFF)
