"""Children of a process with one thread: forked, waited for together with a socket, and reaped.

A fork copies only the thread that forks, and finds every lock as it was. Pages are shared by all forks until somebody
writes to them.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from pliant.serving.replica.sockets import FrameSocket


class Forks:
    """One in a process. Its numbers are whatever the caller calls the children by."""

    def __init__(self) -> None:
        self._children: dict[int, int] = {}
        """Pid to number."""
        self._wake, self._wake_end = os.pipe()
        os.set_blocking(self._wake_end, False)
        os.set_blocking(self._wake, False)
        signal.set_wakeup_fd(self._wake_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    @property
    def pids(self) -> dict[int, int]:
        """Number to pid, of those alive."""
        return {number: pid for pid, number in self._children.items()}

    def fork(self, number: int, become: Callable[[], int], *, log: Path) -> None:
        """A child that is ``become``, ends with the exit code it returns, and writes into ``log``."""
        pid = os.fork()
        if pid == 0:
            self._become(become, log)
        self._children[pid] = number

    def kill(self, number: int, signum: signal.Signals) -> None:
        """Send a signal to a child that has not been reaped: its pid is still its own."""
        if number in self.pids:
            os.kill(self.pids[number], signum)

    def wait(self, connection: FrameSocket[Any]) -> bool:
        """Until there is a frame to be received (True), or a child may have ended."""
        if connection.pending:
            return True
        ready, _, _ = select.select([connection.fileno(), self._wake], [], [])
        if self._wake in ready:
            _drain(self._wake)
        return connection.fileno() in ready

    def ended(self) -> list[tuple[int, int]]:
        """Number and exit code (negative for a signal) of those that have; each is told once."""
        found = []
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            number = self._children.pop(pid, None)
            if number is not None:
                found.append((number, os.waitstatus_to_exitcode(status)))
        return found

    def _become(self, become: Callable[[], int], log: Path) -> NoReturn:
        """In the fork: never return into the parent's code."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            os.close(self._wake)
            os.close(self._wake_end)
            _redirect(log)
            code = become()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


def _redirect(log: Path) -> None:
    """Append file descriptors 1 and 2 to ``log``."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 512):
            pass
    except BlockingIOError:
        pass
