"""Asks a job's coordinator for its weights, again and again, in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from pliant.config import Home
from pliant.errors import ConfigError, CoordinatorError
from pliant.wire.api import Weights, WeightsRequest
from pliant.wire.http import Client
from pliant.wire.service_api import Follow

_WAIT_S = 20.0
_LOOK_S = 3.0
_AGAIN_S = 1.0
_GIVE_UP_S = 60.0
"""Without a coordinator for so long, the job is taken for lost: one that is killed is started again within seconds."""
_OVER = (404, 409, 422)


def first_weights(follow: Follow, directory: Path, *, say: Callable[[str], None] = lambda _: None) -> Weights:
    """The weights as they are before the job's next step. Blocks until there is one.

    Args:
        follow: which job.
        directory: where they are written to.
        say: told what is waited for, every few seconds.

    Raises:
        CoordinatorError: No such job, it is over, or its weights cannot be written.
        ConfigError: The coordinator's token cannot be read.
    """
    with Client.of(Home(Path(follow.home)), timeout_s=2 * _LOOK_S + 10) as client:
        while True:
            status = client.job(follow.job)
            found = client.weights(follow.job, WeightsRequest(str(directory), after=status.step, wait_s=_LOOK_S))
            if found.path:
                return found
            say(f"waiting for the weights of job {follow.job}: it is {status.state}, at step {status.step}")


class Follower(threading.Thread):
    """``came`` is called with weights that are new, ``over`` once, with the reason for which no more will come; both in
    this thread. Never waited for: it ends with its process.
    """

    def __init__(
        self,
        follow: Follow,
        directory: Path,
        *,
        after: int,
        came: Callable[[Weights], None],
        over: Callable[[str], None],
    ) -> None:
        super().__init__(name=f"pliant-follow-{follow.job}", daemon=True)
        self._follow, self._directory, self._after = follow, directory, after
        self._came, self._over = came, over
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Say nothing more. Returns at once; the last question may stay open for a while."""
        self._stopped.set()

    def run(self) -> None:
        """The thread."""
        heard_s = time.monotonic()
        while not self._stopped.is_set():
            try:
                found = self._ask()
            except (CoordinatorError, ConfigError) as error:
                status = error.status if isinstance(error, CoordinatorError) else 0
                if status:
                    heard_s = time.monotonic()
                if status in _OVER or time.monotonic() - heard_s > _GIVE_UP_S:
                    self._say_over(str(error))
                    return
                self._stopped.wait(_AGAIN_S)
                continue
            heard_s = time.monotonic()
            if found.path and not self._stopped.is_set():
                self._after = found.step + 1
                self._came(found)

    def _ask(self) -> Weights:
        follow = self._follow
        asked = WeightsRequest(str(self._directory), follow.every, self._after, _WAIT_S)
        with Client.of(Home(Path(follow.home)), timeout_s=2 * _WAIT_S) as client:
            return client.weights(follow.job, asked)

    def _say_over(self, why: str) -> None:
        if not self._stopped.is_set():
            self._over(why)
