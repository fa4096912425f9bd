"""How many requests there were, lately: the mean and the peak of a count over the last seconds. Pure.

The count is a step function of time. It is kept in buckets of a fixed width, so that memory and work do not grow with
the number of requests, and an idle hour costs as little as an idle second.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass
class _Bucket:
    begin_s: float
    area: float = 0.0
    """Of the count over the bucket's time: requests times seconds."""
    peak: int = 0


class LoadHistory:
    """The count of the last ``keep_s`` seconds.

    Args:
        keep_s: how far back one can ask.
        bucket_s: how exactly; the oldest bucket of a window counts in part.
    """

    def __init__(self, *, keep_s: float, bucket_s: float = 0.1) -> None:
        self._keep_s, self._bucket_s = keep_s, bucket_s
        self._buckets: deque[_Bucket] = deque()
        self._since_s: float | None = None
        self.count = 0
        """Right now."""

    def change(self, now_s: float, count: int) -> None:
        """From ``now_s`` on there are ``count``. Times must not go backwards; one that does counts as the last one."""
        self._advance(now_s)
        self.count = count
        self._buckets[-1].peak = max(self._buckets[-1].peak, count)

    def mean(self, now_s: float, window_s: float) -> float:
        """Over the last ``window_s``, weighted by time; before the first change the count was 0."""
        self._advance(now_s)
        begin_s, area = now_s - window_s, 0.0
        for bucket in self._buckets:
            end_s = min(bucket.begin_s + self._bucket_s, now_s)
            if end_s > begin_s:
                width_s = max(end_s - bucket.begin_s, 1e-9)
                area += bucket.area * min(1.0, (end_s - begin_s) / width_s)
        return area / window_s

    def peak(self, now_s: float, window_s: float) -> int:
        """The largest count in the last ``window_s``, rounded up to whole buckets."""
        self._advance(now_s)
        begin_s = now_s - window_s
        return max((b.peak for b in self._buckets if b.begin_s + self._bucket_s > begin_s), default=self.count)

    def _advance(self, now_s: float) -> None:
        """Write the present count into the buckets up to ``now_s``."""
        if self._since_s is None or now_s - self._since_s > self._keep_s + self._bucket_s:
            self._begin_anew(now_s)
        assert self._since_s is not None
        while self._since_s < now_s:
            bucket = self._buckets[-1]
            end_s = bucket.begin_s + self._bucket_s
            until_s = min(end_s, now_s)
            if until_s > self._since_s:
                bucket.area += self.count * (until_s - self._since_s)
                bucket.peak = max(bucket.peak, self.count)
            self._since_s = max(self._since_s, until_s)
            if now_s >= end_s:
                self._buckets.append(_Bucket(end_s, peak=self.count))
        while self._buckets[0].begin_s + self._bucket_s < now_s - self._keep_s:
            self._buckets.popleft()

    def _begin_anew(self, now_s: float) -> None:
        """Nothing changed for longer than is kept (or nothing is known yet): the whole past is the present count."""
        begin_s = now_s if self._since_s is None else now_s - self._keep_s
        self._buckets.clear()
        self._buckets.append(_Bucket(begin_s, peak=self.count))
        self._since_s = begin_s
