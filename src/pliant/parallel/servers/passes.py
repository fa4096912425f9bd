"""A server's part in a pass: partial sums are added up, the mean goes to the copies, then workers are told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pliant.errors import ProtocolError
from pliant.parallel.servers import letters as le
from pliant.parallel.servers.frames import FrameReader
from pliant.parallel.servers.gather import Gather
from pliant.parallel.servers.holdings import Holdings


class Passes:
    """The pass that workers are in."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._gather: Gather | None = None
        self._told: dict[str, set[int]] = {}
        """Slots of the pass that each worker was told to be complete."""
        self._left: dict[int, int] = {}
        """Per slot of the pass: buckets of it that are not added up yet."""
        self._fresh: list[int] = []
        """Slots whose mean has become known and was not sent to the copies yet."""

    # ------------------------------------------------------------ from workers

    def hail(self, worker: str, letter: le.Hail) -> None:
        """A worker is going to send its partial sums."""
        mail, state = self._holdings.mail, self._holdings.state
        gather = self._gather
        if gather is not None and gather.newer_than(letter.generation, letter.pass_number):
            return
        if letter.layout != self._holdings.layout.fingerprint:
            mine = self._holdings.layout.fingerprint
            error = (
                f"{worker} trains a model with other parameters than the server's (layout {letter.layout} and {mine}): "
                "build the same model in every process, before pliant.join"
            )
            mail.answer(worker, le.Trouble(error=error))
            return
        if gather is None or not gather.is_of(letter.generation, letter.pass_number):
            gather = self._gather = Gather(
                letter.generation, letter.pass_number, size=letter.size, shards=letter.shards
            )
            self._told = {}
            self._left = {}
        try:
            gather.hail(worker, rank=letter.rank, held=letter.held, scales=letter.scales)
        except ProtocolError as error:
            mail.answer(worker, le.Trouble(error=str(error)))
            return
        self._told[worker] = set()
        blank = [slot for slot, record in state.slots.items() if record.role == "primary" and record.number < 0]
        if blank and letter.rank == 0:
            mail.answer(worker, le.Blank(slots=sorted(blank)))
        self._fold(gather, gather.waiting())
        if gather.ready:
            for slot in state.primary_of():
                if not self._holdings.ranges.slots[slot] and self._wants(slot, gather):
                    self._known(slot, gather)

    def part(self, letter: le.Part, frames: Sequence[memoryview]) -> None:
        """Partial sums of one bucket."""
        gather, holdings = self._gather, self._holdings
        if gather is None or not gather.is_of(letter.generation, letter.pass_number):
            return
        places = holdings.ranges.buckets[letter.bucket]
        dtype = holdings.layout.buckets[letter.bucket].dtype
        reader, touched = FrameReader(frames), []
        for node in gather.nodes(letter.rank):
            for first, stop in letter.runs:
                inside = [(slot, begin, end) for slot, begin, end in places if first <= slot < stop]
                origin = inside[0][1]
                flat = reader.tensor(dtype, inside[-1][2] - origin)
                for slot, begin, end in inside:
                    if self._wants(slot, gather):
                        gather.add((letter.bucket, slot), node, flat[begin - origin : end - origin])
                        touched.append((letter.bucket, slot))
        self._fold(gather, dict.fromkeys(touched))

    def look(self, worker: str, letter: le.LookAt) -> None:
        """A worker wants the mean itself."""
        slots = [slot for slot in le.slots_in(letter.runs) if self._holdings.state.complete(slot, letter.pass_number)]
        if slots:
            frames = self._holdings.gradient_frames(slots)
            self._holdings.mail.answer(worker, le.Gradient(letter.pass_number, le.runs_of(slots)), frames)

    # ------------------------------------------------------------ between servers

    def mean(self, sender: str, letter: le.Mean, frames: Sequence[memoryview]) -> None:
        """As a copy: the primary has added up a mean."""
        holdings, reader = self._holdings, FrameReader(frames)
        got, behind = [], []
        for slot in le.slots_in(letter.runs):
            flats = holdings.read_slot(reader, slot)
            verdict = holdings.state.on_mean(sender, slot, letter.pass_number)
            if verdict == "take":
                for mine, theirs in zip(holdings.gradient(slot), flats, strict=True):
                    mine.copy_(theirs)
                holdings.state.slots[slot].pass_number = letter.pass_number
            if verdict in ("take", "known"):
                got.append(slot)
            elif verdict == "behind":
                behind.append(slot)
        if got:
            holdings.mail.answer(sender, le.GotMean(letter.pass_number, le.runs_of(got)))
        if behind:
            holdings.mail.answer(sender, le.Behind(behind))

    def moved(self, *, dropped: Iterable[int], promoted: Iterable[int]) -> None:
        """A placement: of slots that this server is primary of now, the other holders may lack the mean that it has."""
        slots = list(promoted)
        for slot in (*dropped, *slots):
            self._left.pop(slot, None)
        self._fresh += [slot for slot in slots if self._holdings.state.slots[slot].mean_awaits]

    # ------------------------------------------------------------ what has become ready

    def flush(self) -> None:
        """Send fresh means to the copies, and tell workers which slots are complete."""
        holdings = self._holdings
        fresh, self._fresh = self._fresh, []
        here = sorted({slot for slot in fresh if holdings.state.is_primary(slot)})
        for server, slots in holdings.by_followers(here).items():
            numbers = {holdings.state.slots[slot].pass_number for slot in slots}
            for number in sorted(numbers):
                of_it = [slot for slot in slots if holdings.state.slots[slot].pass_number == number]
                frames = holdings.gradient_frames(of_it, copied=holdings.uncounted(server, of_it))
                holdings.mail.command(server, le.Mean(holdings.state.version, number, le.runs_of(of_it)), frames)
        gather = self._gather
        if gather is None:
            return
        complete = {
            slot
            for slot in holdings.state.primary_of()
            if holdings.state.is_primary(slot) and holdings.state.complete(slot, gather.pass_number)
        }
        for worker, told in self._told.items():
            news = complete - told
            if news:
                told.update(news)
                letter = le.Complete(gather.generation, gather.pass_number, le.runs_of(news))
                holdings.mail.answer(worker, letter)

    def _wants(self, slot: int, gather: Gather) -> bool:
        record = self._holdings.state.slots.get(slot)
        return record is not None and record.role == "primary" and record.pass_number < gather.pass_number

    def _fold(self, gather: Gather, places: Iterable[tuple[int, int]]) -> None:
        holdings = self._holdings
        for bucket, slot in places:
            if not self._wants(slot, gather):
                continue
            ranges = holdings.ranges.slots[slot]
            index = next(at for at, each in enumerate(ranges) if each[0] == bucket)
            if not gather.fold((bucket, slot), holdings.gradient(slot)[index]):
                continue
            self._left[slot] = self._left.get(slot, len(ranges)) - 1
            if not self._left[slot]:
                self._known(slot, gather)

    def _known(self, slot: int, gather: Gather) -> None:
        self._holdings.state.mean_known(slot, gather.pass_number)
        self._fresh.append(slot)
