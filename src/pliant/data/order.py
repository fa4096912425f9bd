"""The sample order of one epoch: a keyed permutation that is computed where it is asked for, never stored.

Theory of operation. Positions 0 .. size-1 are written as pairs (left, right) with ``left`` in Z_a and ``right`` in Z_b,
where a is near the square root of the size and a*b is the size or barely more. A generalised Feistel
network adds a keyed hash of one half to the other, in turn, so it is a bijection of the a*b pairs whatever the hash
is. Pairs that land beyond the size are sent through again until they land inside ("cycle walking"), which keeps it
a bijection of 0 .. size-1; few are, so one trip is nearly always all there is.

Source: J. Black and P. Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002, methods 2 (cycle walking) and 3
(generalised Feistel). The hash is a shortened finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014; D. Stafford's
constants), of which the upper 32 bits are scaled to the range (D. Lemire, "Fast Random Integer Generation in an
Interval", 2019). This shuffles; it is no cipher.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

ROUNDS = 8
"""Even, so that both halves are stirred equally often. Theory asks for four; small sizes want more."""

_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_HALF = np.uint64(32)
_CANDIDATES = 256


class EpochOrder:
    """Which sample stands at which position of an epoch.

    A pure function of ``(size, seed, epoch, shuffle)``: the same on every machine, in every process and in any order
    of asking. Memory is proportional to the positions asked for, not to the size.

    Args:
        size: Number of samples, 1 to 2**62.
        seed: Any integer.
        epoch: Any integer; each epoch has an order of its own.
        shuffle: False gives 0, 1, 2, ... in every epoch.

    Raises:
        ValueError: The size is out of range.
    """

    def __init__(self, size: int, *, seed: int, epoch: int, shuffle: bool = True) -> None:
        if not 1 <= size <= 1 << 62:
            raise ValueError(f"size is {size}; an epoch has 1 to 2**62 samples")
        self.size = size
        self.shuffle = shuffle
        self._left, self._right = _sides(size)
        self._keys = [_round_key(seed, epoch, number) for number in range(ROUNDS)]

    def indices(self, start: int, stop: int) -> NDArray[np.int64]:
        """Sample indices at positions ``start`` .. ``stop - 1``.

        Returns:
            int64 array of shape ``(stop - start,)``.

        Raises:
            ValueError: The range does not lie within the epoch.
        """
        if not 0 <= start <= stop <= self.size:
            raise ValueError(f"positions {start} to {stop} do not lie in an epoch of {self.size} samples")
        positions = np.arange(start, stop, dtype=np.int64)
        if not self.shuffle or start == stop:
            return positions
        values = self._permute(positions.view(np.uint64))
        size = np.uint64(self.size)
        outside = np.flatnonzero(values >= size)
        while outside.size:
            walked = self._permute(values[outside])
            values[outside] = walked
            outside = outside[walked >= size]
        return values.view(np.int64)

    def _permute(self, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """One trip through the network: a bijection of 0 .. a*b - 1."""
        left = values // self._right
        right = values - left * self._right
        for number, key in enumerate(self._keys):
            if number % 2:
                right = _turn(right, left ^ key, self._right)
            else:
                left = _turn(left, right ^ key, self._left)
        left *= self._right
        left += right
        return left


def _turn(half: NDArray[np.uint64], other: NDArray[np.uint64], side: np.uint64) -> NDArray[np.uint64]:
    """``(half + hash(other)) mod side``; works in place on ``other``. Unsigned arithmetic wraps, which is meant."""
    other *= _MIX_1
    other ^= other >> _HALF
    other *= _MIX_2
    other >>= _HALF
    other *= side
    other >>= _HALF  # A hash in 0 .. side-1
    other += half
    # Less than twice the side: take it off once; where that wraps round, it was not due.
    np.minimum(other, other - side, out=other)
    return other


def _sides(size: int) -> tuple[np.uint64, np.uint64]:
    """Two sides whose product is at least the size, and as little more as is found near the square root."""
    root = math.isqrt(size - 1) + 1
    sides = range(max(root // 2, root - _CANDIDATES, 1), root + 1)
    left = min(sides, key=lambda side: (-size % side, -side))
    return np.uint64(left), np.uint64(-(-size // left))


def _round_key(seed: int, epoch: int, number: int) -> np.uint64:
    digest = hashlib.blake2b(f"order/{seed}/{epoch}/{number}".encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))
