"""Crews of real processes without a coordinator: a fixed mesh, one generation for each scenario.

A template process imports torch once and forks the workers of each launch. All of them run the same scenarios
(functions without arguments that return something comparable) one after the other; what every worker of every crew
returned comes back.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

from pliant.comm.listener import MeshListener
from pliant.comm.mesh import MeshGroup
from pliant.training import crew as crew_module
from pliant.wire.messages import JobRules, Member

LAUNCH_DEADLINE_S = 100.0
FORM_TIMEOUT_S = 30.0

Outcome = tuple[str, Any]
"""("ok", what the scenario returned) or ("error", its traceback)."""


class StaticCrew(crew_module.SoloCrew):
    """A member of a mesh that never changes; its state is compared with the others' before every step."""

    rules = JobRules(check_every=1)

    def __init__(self, worker: str, group: MeshGroup) -> None:
        self.worker = worker
        self.told: list[object] = []
        self._group = group

    def tell(self, message: object) -> None:
        self.told.append(message)


def _work(pipe: Connection, number: int, module: str, names: Sequence[str]) -> None:
    """Main of a forked worker."""
    faulthandler.dump_traceback_later(LAUNCH_DEADLINE_S - 5)
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="torch.*")
    worker = f"w{number + 1}"
    listener = MeshListener(job="static", worker=worker, key=b"key")
    pipe.send(listener.port)
    members = [Member(worker=f"w{i + 1}", rank=i, host="127.0.0.1", port=port) for i, port in enumerate(pipe.recv())]
    found: dict[str, Outcome] = {}
    for generation, name in enumerate(names, 1):
        group = listener.form(generation, members, timeout_s=FORM_TIMEOUT_S)
        crew = StaticCrew(worker, group)
        crew_module.set_ambient(lambda crew=crew: crew)
        try:
            found[name] = ("ok", getattr(importlib.import_module(module), name)())
        except BaseException:
            found[name] = ("error", traceback.format_exc())
            group.abort()
        group.close()
    pipe.send(found)


def _launch(size: int, module: str, names: Sequence[str]) -> list[dict[str, Outcome]]:
    """In the template: fork a crew, wait for its answers and its end."""
    pipes: list[Connection] = []
    pids: list[int] = []
    try:
        for number in range(size):
            ours, theirs = multiprocessing.Pipe()
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    _work(theirs, number, module, names)
                    code = 0
                except BaseException:
                    traceback.print_exc()
                finally:
                    sys.stderr.flush()
                    os._exit(code)
            theirs.close()
            pipes.append(ours)
            pids.append(pid)
        deadline = time.monotonic() + LAUNCH_DEADLINE_S
        ports = [_answer(pipe, deadline) for pipe in pipes]
        for pipe in pipes:
            pipe.send(ports)
        return [_answer(pipe, deadline) for pipe in pipes]
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)  # those that have answered are at their end
        for pid in pids:
            os.waitpid(pid, 0)
        for pipe in pipes:
            pipe.close()


def _answer(pipe: Connection, deadline: float) -> Any:
    if not pipe.poll(max(0.0, deadline - time.monotonic())):
        raise TimeoutError("a worker of a static crew gave no answer; its stacks are on stderr")
    return pipe.recv()


def _template(pipe: Connection) -> None:
    """Main of the template process: forks crews as it is told, until the pipe ends."""
    importlib.import_module("pliant.training.preload")
    importlib.import_module("pliant.training.job")
    gc.freeze()
    while True:
        try:
            size, module, names = pipe.recv()
        except EOFError:
            return
        importlib.import_module(module)
        assert threading.active_count() == 1, "a fork would lose threads"
        try:
            pipe.send(_launch(size, module, names))
        except Exception as error:
            pipe.send(error)


class Template:
    """In the test process: the template's handle."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_template, args=(theirs,))
        self._process.start()
        theirs.close()

    def run(self, size: int, module: str, names: Sequence[str]) -> list[dict[str, Outcome]]:
        """Run scenarios on a crew of ``size``; per rank, what each gave."""
        self._pipe.send((size, module, list(names)))
        answer = self._pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    def close(self) -> None:
        """End and reap the template."""
        self._pipe.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()


def crews(*sizes, few):
    """Sizes of crews to test with: all of them, or a few, as ``few(n)`` of tests/conftest.py."""
    return sizes if os.environ.get("PLIANT_TEST_THOROUGH") else few


def scenarios_of(module: str) -> list[str]:
    """Names of the scenarios in a module: what is marked with :func:`scenario`."""
    found = vars(importlib.import_module(module))
    marked = {name: value for name, value in found.items() if getattr(value, "is_scenario", False)}
    return [name for name, value in marked.items() if value.__module__ == module]


def scenario(function: Callable[[], Any]) -> Callable[[], Any]:
    """Mark a function as a scenario."""
    function.is_scenario = True  # type: ignore[attr-defined]
    return function
