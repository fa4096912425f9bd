"""A server's part in a pass: partial sums are added up, the mean goes to the copies, then workers are told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pliant.errors import ProtocolError
from pliant.parallel.servers import letters as le
from pliant.parallel.servers.frames import FrameReader
from pliant.parallel.servers.gather import Gather
from pliant.parallel.servers.holdings import Holdings
from pliant.parallel.servers.replica_state import Verdicts


class Passes:
    """The pass that workers are in."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._gather: Gather | None = None
        self._told: dict[str, set[int]] = {}
        """Slots of the pass that each worker was told to be complete."""
        self._added: dict[int, set[int | str]] = {}
        """Per slot of the pass: buckets and tables of it that are added up. They may come again."""
        self._fresh: list[int] = []
        """Slots whose mean has become known and was not sent to the copies yet."""

    def forget(self) -> None:
        """The job has begun again."""
        self._gather, self._told, self._added = None, {}, {}
        self._holdings.rows.begin()

    # ------------------------------------------------------------ from workers

    def hail(self, worker: str, letter: le.Hail) -> None:
        """A worker is going to send its partial sums."""
        mail, state = self._holdings.mail, self._holdings.state
        tables = list(self._holdings.rows.stores)
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
        if letter.tables != tables:
            error = (
                f"{worker} has the tables {letter.tables}, the server {tables}: make every pliant.Embedding before "
                "pliant.join, in every process alike"
            )
            mail.answer(worker, le.Trouble(error=error))
            return
        if gather is None or not gather.is_of(letter.generation, letter.pass_number):
            gather = self._gather = Gather(
                letter.generation, letter.pass_number, size=letter.size, shards=letter.shards
            )
            self._told = {}
            self._added = {}
            self._holdings.rows.begin()
        try:
            gather.hail(rank=letter.rank, held=letter.held, scales=letter.scales)
        except ProtocolError as error:
            mail.answer(worker, le.Trouble(error=str(error)))
            return
        self._told[worker] = set()
        if letter.rank == 0:
            self._holdings.ask_to_begin(worker, state.primary_of())
        self._fold(gather, gather.waiting())
        if gather.ready:
            for slot in state.primary_of():
                self._note(slot, gather)
                for table in self._holdings.rows.stores:
                    self._fold_rows(table, slot, gather)

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

    def row_part(self, letter: le.RowPart, frames: Sequence[memoryview]) -> None:
        """Partial sums of a table's rows."""
        gather = self._gather
        if gather is None or not gather.is_of(letter.generation, letter.pass_number):
            return
        slots = {slot for slot in le.slots_in(letter.runs) if self._wants(slot, gather)}
        self._holdings.rows.add(letter, frames, nodes=gather.nodes(letter.rank), slots=slots)
        for slot in sorted(slots):
            self._fold_rows(letter.table, slot, gather)

    def look(self, worker: str, letter: le.LookAt) -> None:
        """A worker wants the mean itself."""
        slots = [slot for slot in le.slots_in(letter.runs) if self._holdings.state.complete(slot, letter.pass_number)]
        if slots:
            frames = self._holdings.gradient_frames(slots)
            self._holdings.mail.answer(worker, le.Gradient(letter.pass_number, le.runs_of(slots)), frames)

    # ------------------------------------------------------------ between servers

    def row_mean(self, sender: str, letter: le.RowMean, frames: Sequence[memoryview]) -> None:
        """As a copy: the primary has added up a table's rows. The slots' :class:`letters.Mean` is to follow."""
        reader, rows = FrameReader(frames), self._holdings.rows
        for slot in le.slots_in(letter.runs):
            if self._holdings.state.on_mean(sender, slot, letter.pass_number) == "take":
                rows.take_mean(letter.table, slot, reader)
            else:
                reader.take(2)

    def mean(self, sender: str, letter: le.Mean, frames: Sequence[memoryview]) -> None:
        """As a copy: the primary has added up a mean."""
        holdings, reader = self._holdings, FrameReader(frames)
        verdicts = Verdicts()
        for slot in le.slots_in(letter.runs):
            flats = holdings.read_slot(reader, slot)
            verdict = holdings.state.on_mean(sender, slot, letter.pass_number)
            if verdict == "take":
                for mine, theirs in zip(holdings.gradient(slot), flats, strict=True):
                    mine.copy_(theirs)
                holdings.state.slots[slot].pass_number = letter.pass_number
            verdicts.add(slot, verdict)
        if verdicts.got:
            holdings.mail.answer(sender, le.GotMean(letter.pass_number, le.runs_of(verdicts.got)))
        if verdicts.behind:
            holdings.mail.answer(sender, le.Behind(verdicts.behind))

    def moved(self, *, dropped: Iterable[int], promoted: Iterable[int]) -> None:
        """A placement: of slots that this server is primary of now, the other holders may lack the mean that it has."""
        slots = list(promoted)
        for slot in (*dropped, *slots):
            self._added.pop(slot, None)
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
                self._send_mean(server, number, of_it)
        gather = self._gather
        if gather is None:
            return
        complete = {slot for slot in holdings.state.primary_of() if holdings.state.complete(slot, gather.pass_number)}
        for worker, told in self._told.items():
            news = complete - told
            if news:
                told.update(news)
                letter = le.Complete(gather.generation, gather.pass_number, le.runs_of(news))
                holdings.mail.answer(worker, letter)

    def _send_mean(self, server: str, number: int, slots: list[int]) -> None:
        holdings, runs = self._holdings, le.runs_of(slots)
        version = holdings.state.version
        for table in holdings.rows.stores:
            letter = le.RowMean(version, number, table, runs)
            holdings.mail.command(server, letter, holdings.rows.mean_frames(table, slots))
        frames = holdings.gradient_frames(slots, copied=holdings.uncounted(server, slots))
        holdings.mail.command(server, le.Mean(version, number, runs), frames)

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
            if gather.fold((bucket, slot), holdings.gradient(slot)[index]):
                self._note(slot, gather, bucket)

    def _fold_rows(self, table: str, slot: int, gather: Gather) -> None:
        if self._wants(slot, gather) and self._holdings.rows.fold(table, slot, gather):
            self._note(slot, gather, table)

    def _note(self, slot: int, gather: Gather, *parts: int | str) -> None:
        """These of a slot's buckets and tables are added up; once all are, its mean is known."""
        if not self._wants(slot, gather):
            return
        added = self._added.setdefault(slot, set())
        added.update(parts)
        if len(added) == len(self._holdings.ranges.slots[slot]) + len(self._holdings.rows.stores):
            self._holdings.state.mean_known(slot, gather.pass_number)
            self._fresh.append(slot)
