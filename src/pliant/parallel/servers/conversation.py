"""What a worker says to parameter servers, and what it does with what they say. No threads, no clock, no sockets.

A pass and one request may be under way. Whatever has no answer is said to the slots' present primaries; when a
placement changes, a connection was lost, or an answer is late (``again``), it is said again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from pliant.errors import ProtocolError
from pliant.parallel.servers import letters as le
from pliant.parallel.servers.client_work import PassWork, Work
from pliant.parallel.servers.frames import Frame, FrameReader
from pliant.parallel.servers.lease_work import AskWork
from pliant.wire.server_messages import PlaceSlots

Send = Callable[[str, le.Letter, Sequence[Frame]], None]


class Beginner(Protocol):
    """Gives the state that slots begin with."""

    def __call__(self, slots: Sequence[int]) -> tuple[int, dict[int, list[Frame]]] | None:
        """(number of updates so far, frames of each slot's state); None: the job has begun, this cannot be."""
        ...


class Conversation:
    """One worker's, with all servers.

    Args:
        send: takes letters to servers.
        begin: for slots that no server has a state of.
    """

    def __init__(self, send: Send, *, begin: Beginner) -> None:
        self.placement: PlaceSlots | None = None
        self.trouble: str | None = None
        """What cannot be done, ever."""
        self.era = 0
        """In which this worker is; 0: not in the job yet, so that it may only look."""
        self._send, self._begin = send, begin
        self._pass: PassWork | None = None
        self._request: Work | None = None
        self._asked = True

    def placed(self, placement: PlaceSlots) -> None:
        """The coordinator says who holds what. One that is known, or older, changes nothing."""
        if self.placement is None or placement.version > self.placement.version:
            self.placement = placement
            self.again()

    def begin_pass(self, work: PassWork) -> None:
        """From here on the servers are sent this pass's sums; an earlier one is over."""
        self._pass = work

    def end_pass(self, work: PassWork) -> None:
        """Nothing of it is sent any more."""
        if self._pass is work:
            self._pass = None

    def ask(self, work: Work) -> None:
        """Put a request, once ``say`` is called; an earlier one is over."""
        self._request, self._asked = work, False

    def end_request(self) -> None:
        """Its answers came, or nobody waits for them."""
        self._request = None

    def say(self) -> None:
        """Whatever has become ready and was not said."""
        if self._pass is not None:
            for server, slots in self._primaries(self._pass.pending).items():
                self._pass.say_to(server, slots, self._sayer(server), version=self._version)
        if self._request is not None and not self._asked and self.placement is not None:
            self._asked = True
            self._say_request(again=False)

    def again(self) -> None:
        """Say all that has no answer once more, to whoever it concerns now; the pass with the next ``say``."""
        if self._pass is not None:
            self._pass.said.clear()
        if self._request is not None and self._asked:
            self._say_request(again=True)

    def ask_again(self) -> None:
        """The same for the request alone, if it is short and depends on who the members are."""
        if isinstance(self._request, AskWork) and self._asked:
            self._say_request(again=True)

    def take(self, server: str, letter: le.Letter, frames: Sequence[memoryview]) -> None:
        """A letter has come. What makes no sense becomes ``trouble``."""
        try:
            self._take(server, letter, frames)
        except (ProtocolError, LookupError, RuntimeError) as error:
            self.trouble = f"server {server} sent {type(letter).__name__}, which makes no sense: {error}"
        if self.trouble is not None:
            self.fail(self.trouble)

    def fail(self, trouble: str) -> None:
        """Nothing more can come of this; whoever waits is to look."""
        self.trouble = trouble
        if self._pass is not None:
            self._pass.on_complete()

    def _take(self, server: str, letter: le.Letter, frames: Sequence[memoryview]) -> None:
        match letter:
            case le.Complete():
                if self._pass is not None:
                    self._pass.complete(letter)
            case le.Blank():
                given = self._begin(letter.slots)
                if given is not None:
                    number, states = given
                    for slot, begun in states.items():
                        self._send(server, le.Begin(self._version, slot, number, era=self.era), begun)
            case le.Trouble():
                self.trouble = letter.error
            case _:
                if self._request is not None:
                    self._request.take(letter, FrameReader(frames))

    @property
    def _version(self) -> int:
        return 0 if self.placement is None else self.placement.version

    def _say_request(self, *, again: bool) -> None:
        assert self._request is not None
        for server, slots in self._primaries(self._request.pending).items():
            self._request.say(slots, self._sayer(server), version=self._version, again=again)

    def _primaries(self, slots: set[int]) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        if self.placement is not None:
            for slot in sorted(slots):
                holders = self.placement.slots[slot].holders
                if holders:
                    found.setdefault(holders[0], []).append(slot)
        return found

    def _sayer(self, server: str) -> Callable[[le.Letter, Sequence[Frame]], None]:
        def say(letter: le.Letter, frames: Sequence[Frame]) -> None:
            if isinstance(letter, le.OF_AN_ERA):
                letter = msgspec.structs.replace(letter, era=self.era)
            self._send(server, letter, frames)

        return say
