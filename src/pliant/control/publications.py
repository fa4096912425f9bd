"""Who waits for the weights of one job. No I/O, no clock, and not journaled.

Whoever waits asks another coordinator again, so that nothing of this has to outlive one. There is one order for each
directory: a service has one of its own, and asks for the next weights when it has been given some.
"""

from __future__ import annotations

from collections.abc import Callable

from pliant.wire.messages import WeightsOrder, WeightsPublished

Answer = Callable[[WeightsPublished | None], None]
"""Called once: with what was published, or with None if there will be nothing."""
_MOST_REMEMBERED = 100


class Publications:
    """The open orders, and what was published last for each directory."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[WeightsOrder, Answer]] = {}
        self._newest: dict[str, WeightsPublished] = {}

    @property
    def orders(self) -> list[WeightsOrder]:
        """For the workers."""
        return [order for order, _ in self._open.values()]

    def ask(self, order: WeightsOrder, answer: Answer) -> bool:
        """Open an order; an earlier one for its directory is answered with None.

        Returns:
            True: the workers have to be told. False: it is answered, as what it asks for had come unasked (the end of
            the script, or from a worker that was main for a moment only).
        """
        self._settle(order.directory, None)
        newest = self._newest.get(order.directory)
        if newest is not None and _fulfils(newest, order):
            answer(newest)
            return False
        self._open[order.directory] = (order, answer)
        return True

    def drop(self, order: WeightsOrder) -> bool:
        """Nobody waits for it any more. True: the workers have to be told."""
        if order in self.orders:
            del self._open[order.directory]
            return True
        return False

    def published(self, message: WeightsPublished) -> bool:
        """A worker has written weights, or could not. True: that ends an order, and the workers have to be told."""
        if not message.error:
            self._newest.pop(message.directory, None)  # the newest is the last one
            self._newest[message.directory] = message
            while len(self._newest) > _MOST_REMEMBERED:
                del self._newest[next(iter(self._newest))]
        order, _ = self._open.get(message.directory, (None, None))
        if order is None or not _fulfils(message, order):
            return False
        return self._settle(message.directory, message)

    def end(self) -> None:
        """The job is over."""
        for directory in list(self._open):
            self._settle(directory, None)

    def _settle(self, directory: str, published: WeightsPublished | None) -> bool:
        _, answer = self._open.pop(directory, (None, None))
        if answer is None:
            return False
        answer(published)
        return True


def _fulfils(message: WeightsPublished, order: WeightsOrder) -> bool:
    """Not what a worker wrote once more for an order before this, as it had not been told yet that it was over."""
    return message.step >= order.after and message.every in (0, order.every)
