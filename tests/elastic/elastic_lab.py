"""The public fault kit, with the scripts of these tests: they keep books, and wait where a test wants them to."""

import json
import uuid
from dataclasses import dataclass
from pathlib import Path

from elastic_books import Trace, read_traces

from pliant.testing.elastic_job import ElasticJob
from pliant.testing.lab import Lab
from pliant.testing.launch import Launch
from pliant.testing.processes import is_alive
from pliant.testing.waiting import DEADLINE_S, wait_until

__all__ = ["DEADLINE_S", "LONGEST", "SCRIPTS", "BookLab", "BookedJob", "Ended", "is_alive", "wait_until"]

SCRIPTS = Path(__file__).parent / "scripts"
LONGEST = 300
"""Steps of the undisturbed run of train.py: jobs of fewer are compared with its beginning, so there is but this one."""


@dataclass(frozen=True)
class Ended:
    """What a ``pliant run`` left behind: its output, its report as it was written, and the script's books."""

    code: int
    out: str
    error: str
    report: dict
    trace: Trace

    @property
    def kinds(self) -> list[str]:
        return [event["kind"] for event in self.report["events"]]

    def events(self, kind: str) -> list[dict]:
        return [event for event in self.report["events"] if event["kind"] == kind]


class BookLab(Lab):
    """Runs the scripts beside this file."""

    def run(self, directory: Path, script: str, *script_args: object, **options: object) -> "BookedJob":
        """Start ``pliant run``; the script writes its books below ``directory``.

        Shards are dealt evenly unless told otherwise: who is held by a test is slow, and would get none by and by.
        """
        options.setdefault("deal", "even")
        name = options.pop("name", f"job-{uuid.uuid4().hex[:8]}")
        words = ("--out", str(directory / f"{name}.out"), *(str(each) for each in script_args))
        job = BookedJob(self, Launch(SCRIPTS / script, words, directory, options, name))
        self.jobs.append(job)
        return job


class BookedJob(ElasticJob):
    """A job whose script keeps books in ``out``."""

    def __init__(self, lab: BookLab, launch: Launch) -> None:
        launch.file("out").mkdir(parents=True)
        super().__init__(lab, launch)

    @property
    def out(self) -> Path:
        return self.launch.file("out")

    def hold(self, phase: str, worker: str) -> None:
        """Have the script wait in this phase on this worker, from its next visit on."""
        (self.out / f"hold-{phase}-{worker}").touch()

    def wait_held(self, phase: str, worker: str) -> None:
        self.wait(lambda _: (self.out / f"at-{phase}-{worker}").exists(), f"{worker} is held in {phase}")

    def release(self, phase: str, worker: str) -> None:
        (self.out / f"hold-{phase}-{worker}").unlink()
        (self.out / f"at-{phase}-{worker}").unlink(missing_ok=True)

    def pass_steps(self, count: int) -> None:
        """Wait until so many more steps are committed."""
        self.wait_step(self.wait(lambda status: status, "the job is there").step + count)

    def books(self) -> Trace:
        """What the script has written down so far."""
        return read_traces(self.out)

    def end(self, exit_code: int = 0) -> Ended:
        """As in the kit; with the books, and the report as plain JSON."""
        result = super().end(exit_code)
        path = self.launch.file("json")
        report = json.loads(path.read_text()) if path.exists() else {}
        return Ended(exit_code, result.output, result.errors, report, self.books())
