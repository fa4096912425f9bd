"""A service's zygote: has torch and the user's file imported, and forks the templates of its versions from itself.

``python -m pliant.serving.replica.zygote``, started by the router. So new weights cost a fork and the loading of the
model, and not seconds of imports. (The word is Android's, for the process that all applications are forked from.)
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

from pliant import no_gc  # first: whatever imports torch comes behind it
from pliant.serving.replica.forks import Forks
from pliant.serving.replica.loading import import_target
from pliant.serving.replica.sockets import FrameSocket
from pliant.serving.replica.template import SOCKET, be_template
from pliant.wire.replica_messages import (
    EndZygote,
    ForkTemplate,
    StopTemplate,
    TemplateExited,
    ToZygote,
    ZygoteHello,
)

_log = logging.getLogger(__name__)


class Zygote:
    """One zygote process. Blocking; one thread."""

    def __init__(self, directory: Path, *, target: str, launch: str, threads: int) -> None:
        """``directory``: of its socket."""
        self._path = directory / SOCKET
        self._target, self._launch, self._threads = target, launch, threads
        self._socket: FrameSocket[Any] = FrameSocket(ToZygote)
        self._forks = Forks()

    def run(self) -> None:
        """Until it is told to end, or no router has come back in time."""
        self._socket.serve(self._path, hello=self._greeting, serve_one=self._serve_one)

    def _greeting(self) -> ZygoteHello:
        return ZygoteHello(os.getpid(), self._launch, self._forks.pids)

    def _serve_one(self) -> bool:
        if self._forks.wait(self._socket):
            head, _ = self._socket.receive()
            match head:
                case EndZygote():
                    return False
                case ForkTemplate():
                    log = Path(head.directory) / "template.log"
                    self._forks.fork(head.version, lambda: self._be(head), log=log)
                case StopTemplate(version, kill):
                    self._forks.kill(version, signal.SIGKILL if kill else signal.SIGTERM)
        for version, exit_code in self._forks.ended():
            self._socket.send(TemplateExited(version, exit_code))
        return True

    def _be(self, order: ForkTemplate) -> int:
        """In a fork: the template of a version."""
        self._socket.close()
        return be_template(order, target=self._target, launch=self._launch, threads=self._threads)


def main() -> int:
    """The process."""
    parser = argparse.ArgumentParser(prog="pliant.serving.replica.zygote", description=__doc__)
    parser.add_argument("--target", required=True)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--launch", required=True)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", force=True)
    try:
        import_target(args.target)
    except Exception:
        _log.info("%s cannot be imported; its template will say why", args.target, exc_info=True)
    no_gc.freeze_and_enable()
    Zygote(args.directory, target=args.target, launch=args.launch, threads=args.threads).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
