"""The decider of the coordinator for one training job: who is a member of which generation, and who should exist.

Rules
-----
1. At most one generation is announced and not yet entered by all its members.
2. A generation number is used once. Only workers that hold the job's state (*stateful*) carry it on. When none is
   left, everybody who is left is sent home, and fresh founders begin from a checkpoint; without one, the job is lost.
3. Training is disturbed only when a member that the others need is gone, or when a group broke.
4. Wrong, late, repeated and reordered events are harmless: each is checked against what is known now.

Theory of operation
-------------------
Events only change what is *known* (``facts.py``). What follows
from it is decided afterwards, always in the same order, by the rules listed in :meth:`JobMembership._decide`:

* *end*: has the job ended?
* *interrupt*: is a needed member gone? Then all others of the current and of the announced generation are told to
  shut their groups, and everybody's answer is awaited (who dies meanwhile needs not answer).
* *reform*: all answers are here. Those with state form a recovery generation; the others are ready again. If nobody
  has died, and a generation breaks again, the one that most others accuse is expelled first (``accusation_plan.py``).
* *found*: enough workers are ready for the first generation.
* *plan*: the wanted members differ from the current ones. The new generation is formed in the background; the
  members of the current one switch to it together, at a boundary they find in-band. Then those left out are retired.
* *retire*, *start*: too many processes, or too few.

Between the announcement of a planned generation and the first word of somebody who entered it, the coordinator
cannot know whether the members have switched. Three cases follow:

* a *member of the current one* dies: both generations are interrupted alike. The answers tell who is where.
* a *newcomer* dies: nothing is done, because the survivors may never have to notice. Either some member
  of the current generation finds that the new group cannot be formed, having not said in-band that it stands. Then
  it never will, so nobody can have switched or ever will: it reports ``GenerationBroke(unused=True)``, and the
  announcement is dropped without any interruption. Or all of them had switched: then one of them reports that
  the new group broke, and that is an ordinary recovery.
* a *leaver* dies: it is needed until somebody entered the new generation, and not after.

A member whose script has ended has committed the last pass, so every other member holds the full gradient of it
(the acknowledgement rule). From then on no process is started, and a death disturbs nobody; only a
member that reports a broken group is helped to its end, by a recovery among those that have not ended.

The caller has to give workers time-outs (this file knows no time): it kills a worker that stays in :attr:`awaited`,
which arrives here as :class:`WorkerGone`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pliant.ids import Generation, WorkerId
from pliant.membership import events as ev
from pliant.membership.facts import Interruption, JobFacts
from pliant.membership.form_plan import founders, planned_members, survivors
from pliant.membership.roster import Formation
from pliant.membership.target_plan import retirable
from pliant.wire.messages import GenerationKind

MAX_BROKEN_GENERATIONS = 20
"""So many generations in a row that broke before all their members had entered: the job gives up."""


class JobMembership(JobFacts):
    """Decides who is a member of which generation of one job. Pure: events in, decisions out.

    Args:
        start: number of workers in the founding generation.
        minimum: the job never asks for fewer workers than this.
        target: wanted number of workers after the founding; ``start`` if None.
        resume: the founders begin from a checkpoint, which has to be found first.
    """

    # ------------------------------------------------------------------ events

    def begin(self) -> list[ev.Decision]:
        """The first decisions: start the founding workers, or find what they begin from. Call it once."""
        return [*([ev.FindState()] if self.finding else []), *self._decide()]

    def handle(self, event: ev.MembershipEvent) -> list[ev.Decision]:
        """Take note of one event and decide what follows from it.

        Raises:
            ConfigError: the target of a ``TargetChanged`` is out of bounds; nothing has changed.
        """
        if self.outcome is not None:
            return []
        if isinstance(event, ev.TargetChanged):
            self._on_target(event)
            return self._decide()
        if isinstance(event, ev.StopAsked):
            return self._on_stop() + self._decide()
        if isinstance(event, ev.StateFound | ev.StateMissing):
            return self._on_found(event)
        if isinstance(event, ev.StateLost):
            return self._on_lost(event.reason)
        record = self._roster.get(event.worker)
        if record is None or (record.retired and isinstance(event, ev.WorkerConnected)):
            reason = "this worker is not part of the job (any more)"
            return [ev.RetireWorker(event.worker, reason)] if isinstance(event, ev.WorkerConnected) else []
        halted, planned = self.starting_halted, self._planned
        said = self._hear(event, record)
        if self.outcome is not None:
            return said
        # A thousand members send a thousand of each of these: nobody is looked at again for those that change nothing.
        match event:
            case ev.WorkerEntered() | ev.WorkerInterrupted():
                quiet = self._more_to_come()
            case ev.WorkerConnected() | ev.WorkerReadied():
                quiet = self._too_few_to_found() and not halted
            case ev.GenerationBroke():
                quiet = not self._broken and self._planned is planned
            case _:
                quiet = False
        return said + (self._interrupt() if quiet else self._decide())

    def _more_to_come(self) -> bool:
        """Others have still to enter, or to answer; until then nothing is announced."""
        if self._interruption is not None:
            return bool(self._interruption.awaited)
        return any(not formation.complete for formation in self.formations)

    def _too_few_to_found(self) -> bool:
        """More workers have to be ready for the first generation; until then, that one is ready changes nothing."""
        return self._current is None and not self._founded and self._readied < self._wanted()

    # ------------------------------------------------------------------ rules

    def _decide(self) -> list[ev.Decision]:
        rules: Sequence[Callable[[], list[ev.Decision]]] = (
            self._end,
            self._interrupt,
            self._reform,
            self._found,
            self._plan,
            self._retire_departing,
            self._start,
        )
        decisions: list[ev.Decision] = []
        for rule in rules:
            decisions += rule()
            if self.outcome is not None:
                break
        return decisions

    def _end(self) -> list[ev.Decision]:
        if not self._founded and self.starting_halted:
            dead = ", ".join(self._early_deaths)
            return self._end_job(
                "failed-lost",
                f"{len(self._early_deaths)} workers in a row ({dead}) ended before they were ready, so the job "
                f"cannot start. The end of {self._early_deaths[-1]}.log says why.",
            )
        over = [
            formation
            for formation in self.formations
            if not any(self._roster[worker].live for worker in formation.members)
        ]
        if self._any_ended and over:
            return self._end_job(
                "stopped" if self.stopping else "finished",
                "stopped as asked" if self.stopping else "the script has ended on all workers",
            )
        if self.stopping and len(over) == len(self.formations):
            return self._end_job("stopped", "stopped as asked")
        return []

    def _interrupt(self) -> list[ev.Decision]:
        if self._interruption is not None or self._current is None:
            return []
        if not self._broken and (self._any_ended or not self._lost_members()):
            return []
        self._broken = False
        self._broken_in_a_row += not self._current.complete
        newest = self._planned or self._current
        involved = dict.fromkeys(worker for formation in self.formations for worker in formation.members)
        to = tuple(self._roster.only_live(involved))
        self._interruption = Interruption(newest.generation, set(to))
        return [ev.InterruptGeneration(newest.generation, to)] if to else []

    def _lost_members(self) -> list[WorkerId]:
        """Members that are gone although the others need them."""
        needed = self._planned if self._anyone_switched() else self._current
        return [worker for worker in self._dead if needed and worker in needed]

    def _reform(self) -> list[ev.Decision]:
        if self._interruption is None or self._interruption.awaited or self._current is None:
            return []
        old, planned = self._current, self._planned
        said = self._expel(old, planned)
        members = survivors(self._roster, current=old, planned=planned)
        self._current = self._planned = self._interruption = None
        self._dead.clear()
        enough = self._broken_in_a_row >= MAX_BROKEN_GENERATIONS
        if members and not enough:
            involved = self._roster.only_live((*old.members, *(planned.members if planned else ())))
            going_on = set(members)
            outdated = [w for w in involved if self._roster[w].stateful and w not in going_on]
            said += self._retire(outdated, f"left out of generation {(planned or old).generation}")
            return [*said, self._announce("recovery", members)]
        if enough and (members or not self._founded):
            reason = f"{MAX_BROKEN_GENERATIONS} generations in a row broke before all their members had entered them"
            return self._end_job("failed-lost", f"{reason}. The workers' logs say why.")
        if not self._founded:
            return said
        lost = f"no worker that holds the job's state is left: generation {old.generation} was {', '.join(old.members)}"
        return [*said, *self._begin_again(lost)]

    def _begin_again(self, lost: str) -> list[ev.Decision]:
        # Whoever is left has come to another place in the script than the one where the checkpoint was made.
        said = self._retire([record.worker for record in self._roster.live()], "the job's state is lost")
        self._founded, self.finding, self._broken_in_a_row = False, True, 0
        return [*said, ev.FindState(lost)]

    def _on_lost(self, reason: str) -> list[ev.Decision]:
        """What the workers hold is not all of the state, and the rest is gone (parameter servers)."""
        if self._any_ended or self.stopping:
            # Whoever has ended holds the final weights; whoever is to stop cannot get to the next boundary.
            how = "the script has ended on some workers" if self._any_ended else "stopped as asked"
            return self._end_job("stopped" if self.stopping else "finished", how)
        if not self._founded:
            return []
        self._current = self._planned = self._interruption = None
        self._broken = False
        self._dead.clear()
        self._accusations.forget()
        return self._begin_again(reason)

    def _on_found(self, event: ev.StateFound | ev.StateMissing) -> list[ev.Decision]:
        if not self.finding:
            return []
        self.finding = False
        if isinstance(event, ev.StateMissing):
            return self._end_job("failed-lost", event.reason)
        return self._decide()

    def _expel(self, old: Formation, planned: Formation | None) -> list[ev.Decision]:
        """Of members that live and cannot reach each other, all but one go on."""
        if any(worker in formation for worker in self._dead for formation in self.formations):
            self._accusations.forget()
            return []
        members = survivors(self._roster, current=old, planned=planned)
        among = members if self._founded else self._roster.only_live(old.members)
        broken = planned if planned is not None and self._anyone_switched() else old
        outcast = self._accusations.broke(among, entered_by_all=broken.complete)
        if outcast is None or len(among) < 2:
            return []
        self._accusations.forget()
        self._roster[outcast].retired = True
        return [ev.ExpelWorker(outcast, f"others cannot reach it, in generation {broken.generation} and before")]

    def _found(self) -> list[ev.Decision]:
        if self._founded or self._current is not None or self.stopping or self.finding:
            return []
        departing = self._target_plan().departing
        members = founders(self._roster, size=self._wanted(), departing=departing)
        return [self._announce("founding", members)] if members else []

    def _plan(self) -> list[ev.Decision]:
        current = self._current
        settled = current is not None and current.complete and self._planned is None and self._interruption is None
        if current is None or not settled or self.stopping or self._any_ended:
            return []
        members = planned_members(
            self._roster,
            current=current,
            departing=self._target_plan().departing,
            floor=1 if self.starting_halted else self.minimum,
        )
        return [self._announce("planned", members)] if members else []

    def _retire_departing(self) -> list[ev.Decision]:
        live = self._roster.live()
        if self.stopping or self._any_ended:
            everybody = [record.worker for record in live]
            return self._retire(retirable(live, everybody, self.formations), "the job is ending")
        departing = self._target_plan().departing
        return self._retire(retirable(live, departing, self.formations), "the job needs fewer workers now")

    def _start(self) -> list[ev.Decision]:
        if self.stopping or self._any_ended or self.starting_halted or self.finding:
            return []
        return [ev.StartWorkerProcess(self._roster.add().worker) for _ in range(self._target_plan().missing)]

    def _announce(self, kind: GenerationKind, members: Sequence[WorkerId]) -> ev.AnnounceGeneration:
        self._last_number = Generation(self._last_number + 1)
        records = [self._roster[worker] for worker in members]
        places = tuple(ev.Place(r.worker, rank, r.host, r.port) for rank, r in enumerate(records))
        old = self._roster.only_live(self.members) if kind == "planned" else []
        formation = Formation(self._last_number, kind, places, to=tuple(dict.fromkeys((*members, *old))))
        if kind == "planned":
            self._planned = formation
        else:
            self._current = formation
        return formation.announcement()
