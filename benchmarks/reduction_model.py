"""(d) An alpha-beta model of three ways to reduce a gradient over n workers, from 2 to 4,096. Pure arithmetic.

A message costs ``alpha_s`` of waiting until it is there and ``overhead_s`` of its sender's and receiver's time; a byte
costs ``beta_s`` where it is sent (sending and receiving overlap on a full-duplex link). All three send the least bytes
there can be, 2 (n - 1) / n of the gradient per worker. What tells them apart is the number of messages, how many of
those wait for each other, and whose additions they allow:

* direct: everyone sends everyone their slice of the partial sums, then the result. 2 (n - 1) messages, two waits in a
  row. Any deal of the shards: each slice's owner has all partial sums and adds them in the tree's order.
* halving: recursive halving and doubling. 2 log2(n) messages, each waiting for the one before. The pairs are the tree's
  own if every worker holds one aligned, equally large subtree (n a power of two); then the additions are the tree's.
* ring: 2 (n - 1) messages in a row. Adds along the ring: the order depends on n, so the bits do, too.

Thakur, Rabenseifner, Gropp: Optimization of Collective Communication Operations in MPICH, 2005.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log2

import msgspec

MARGIN = 1.05
FORMS = ("direct", "halving", "ring")
WORKERS = (2, 3, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


class Link(msgspec.Struct, frozen=True):
    """What a network costs: seconds of latency, seconds of work per message, seconds per byte."""

    alpha_s: float
    overhead_s: float
    beta_s: float


class Cost(msgspec.Struct, frozen=True):
    """Of one reduction, for one worker."""

    form: str
    workers: int
    messages: int
    size_bytes: float
    seconds: float


def cost(form: str, workers: int, *, gradient_bytes: float, buckets: int, link: Link) -> Cost:
    """The cost of one reduction in ``buckets`` pieces; the pieces' latencies overlap, the work does not."""
    if form not in FORMS:
        raise ValueError(f"form {form!r} is not one of {', '.join(FORMS)}")
    size_bytes = 2 * (workers - 1) / workers * gradient_bytes
    halvings = ceil(log2(workers))
    per_bucket = 2 * halvings if form == "halving" else 2 * (workers - 1)
    in_a_row = 2 if form == "direct" else per_bucket
    messages = per_bucket * buckets
    seconds = in_a_row * link.alpha_s + messages * link.overhead_s + size_bytes * link.beta_s
    return Cost(form, workers, messages, size_bytes, seconds)


def allowed(form: str, workers: int) -> bool:
    """Halving along the tree's pairs needs a power of two."""
    return form != "halving" or workers & (workers - 1) == 0


def table(*, gradient_bytes: float, buckets: int, link: Link, workers: Sequence[int] = WORKERS) -> list[Cost]:
    """All forms at all worker counts, as far as they exist there."""
    return [
        cost(form, count, gradient_bytes=gradient_bytes, buckets=buckets, link=link)
        for count in workers
        for form in FORMS
        if allowed(form, count)
    ]


def crossover(*, gradient_bytes: float, buckets: int, link: Link) -> int | None:
    """The fewest workers (a power of two) at which direct costs over 5 % more than halving; None up to 4,096."""
    for exponent in range(1, 13):
        direct, halving = (
            cost(form, 2**exponent, gradient_bytes=gradient_bytes, buckets=buckets, link=link).seconds
            for form in ("direct", "halving")
        )
        if direct > MARGIN * halving:
            return int(2**exponent)
    return None
