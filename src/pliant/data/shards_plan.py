"""Which samples are in which shard. Pure arithmetic: the same answer in every process.

A global batch of B samples is V shards of b = B/V samples. Positions count along the epoch's order
(:class:`pliant.data.order.EpochOrder`); step s covers [s*B, s*B + B), shard v of it [s*B + v*b, s*B + v*b + b).
The last incomplete batch fills its shards in the same way, shard 0 first, so that the last ones may get fewer
samples or none.
"""

from __future__ import annotations


def sample_range(  # noqa: PLR0913 - six numbers that are all needed to name a place
    *, step: int, shard: int, batch_size: int, shards: int, size: int, drop_last: bool
) -> tuple[int, int]:
    """Positions ``(start, stop)`` of one shard of one step; an empty range where it has no samples.

    Args:
        step: Step within the epoch, from 0. Steps after the epoch's end have empty shards.
        shard: 0 .. shards - 1.
        batch_size: Samples of a global batch; divisible by ``shards``.
        shards: Shards of a global batch.
        size: Samples of the epoch.
        drop_last: Leave an incomplete last batch out.
    """
    if not 0 <= shard < shards:
        raise ValueError(f"shard {shard} is none of 0 .. {shards - 1}")
    if step < 0:
        raise ValueError(f"step is {step}; steps of an epoch count from 0")
    per_shard = batch_size // shards
    end = size - size % batch_size if drop_last else size
    start = min(step * batch_size + shard * per_shard, end)
    return start, min(start + per_shard, end)


def steps_per_epoch(*, batch_size: int, size: int, drop_last: bool) -> int:
    """Global batches in an epoch; an incomplete last one counts unless it is dropped."""
    return size // batch_size if drop_last else -(-size // batch_size)


def steps_of_shard(*, shard: int, batch_size: int, shards: int, size: int, drop_last: bool) -> int:
    """In how many steps of an epoch this shard has samples (the last step may leave it empty)."""
    full, rest = divmod(size, batch_size)
    return full + (not drop_last and shard * (batch_size // shards) < rest)
