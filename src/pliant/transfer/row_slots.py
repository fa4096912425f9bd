"""Which slot a row is in. Workers and servers compute it alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pliant.wire.server_messages import SLOTS

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def finalized(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The output function of SplitMix64, in place: a bijection in which each bit depends on every bit.

    Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, with the constants of
    David Stafford's variant 13.
    """
    words ^= words >> np.uint64(30)
    words *= _FIRST
    words ^= words >> np.uint64(27)
    words *= _SECOND
    words ^= words >> np.uint64(31)
    return words


def mixed(ids: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A hash of each id. The lowest bits say which slot, the highest where in an index: they do not depend on
    each other.
    """
    return finalized(ids.view(np.uint64) + GOLDEN)


def slot_of(ids: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The slot of each id."""
    return (mixed(ids) % np.uint64(SLOTS)).astype(np.uint8)
