"""A worker's side of the parameter servers: a thread that talks to them, and calls that wait for it.

The thread alone uses the post. The conversation is shared with the training threads under one lock.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from pliant.comm.post.base import Event, PostFullError
from pliant.comm.post.base import Letter as Posted
from pliant.comm.post.post import ZmqPost
from pliant.errors import PliantError
from pliant.parallel.servers.client_work import PassWork, Work
from pliant.parallel.servers.conversation import Beginner, Conversation
from pliant.parallel.servers.frames import Frame
from pliant.parallel.servers.letters import AnyLetter, Letter
from pliant.parallel.servers.peers import Peers
from pliant.wire.server_messages import PlaceSlots

LOOK_S = 0.5
_ENCODE = msgspec.msgpack.Encoder().encode
WorkT = TypeVar("WorkT", bound=Work)


class ServersClient:
    """One worker's.

    Args:
        post: made, and closed, by the caller. Only this object's thread uses it.
        begin: for slots that no server has a state of. Called by this object's thread, while a pass is under way.
        check: called now and then by waiting calls; raises if there is nothing to wait for any more.
        again_s: what has had no answer for so long is said again.
    """

    def __init__(self, post: ZmqPost[AnyLetter], *, begin: Beginner, check: Callable[[], None], again_s: float) -> None:
        self.era: Callable[[], int] = lambda: 0
        """In which this worker is, see ``letters``."""
        self._post, self._check, self._again_s = post, check, again_s
        self._changed = threading.Condition()
        self._talk = Conversation(self._send, begin=begin)
        self._placements: deque[PlaceSlots] = deque()
        self._peers = Peers(post)
        self._said_s = time.monotonic()
        self._closed = self._members_changed = False
        self._thread = threading.Thread(target=self._run, name="pliant-servers", daemon=True)
        self._thread.start()

    # ------------------------------------------------------------ training threads

    def placed(self, placement: PlaceSlots) -> None:
        """The coordinator says who holds what. Any thread."""
        self._placements.append(placement)
        self._post.wake()

    def begin_pass(self, work: PassWork) -> None:
        """From here on the servers are sent this pass's sums; an earlier one is over."""
        with self._changed:
            self._talk.begin_pass(work)
        self._post.wake()

    def bucket_ready(self, work: PassWork, bucket: int) -> None:
        """The sums of one bucket are in the flat buffers."""
        work.ready[bucket] = True
        self._post.wake()

    def look(self) -> None:
        """More of the pass is ready."""
        self._post.wake()

    def end_pass(self, work: PassWork) -> None:
        """Its sums may change from here on: nothing of it is sent any more."""
        with self._changed:
            self._talk.end_pass(work)

    def ask(self, work: WorkT) -> WorkT:
        """Ask the servers, and wait for all their answers. Blocking; one call at a time.

        Raises:
            PliantError: a server says that it cannot be done.
        """
        with self._changed:
            self._talk.ask(work)
            self._post.wake()
            try:
                while work.pending:
                    self._changed.wait(LOOK_S)
                    self.check()
            finally:
                self._talk.end_request()
        return work

    def ask_again(self) -> None:
        """The members are others now, of which the ledger may have to know. Any thread."""
        self._members_changed = True
        self._post.wake()

    def check(self) -> None:
        """Raise what went wrong at a server, or whatever has ended the job."""
        if self._talk.trouble is not None:
            raise PliantError(self._talk.trouble)
        self._check()

    def close(self) -> None:
        """End the thread. The post is the caller's."""
        self._closed = True
        self._post.wake()
        self._thread.join()

    # ------------------------------------------------------------ own thread

    def _run(self) -> None:
        try:
            self._talk_on()
        except Exception as error:  # or whoever waits would wait for ever
            self._talk.fail(f"the thread that talks to the servers has ended: {type(error).__name__}: {error}")
            with self._changed:
                self._changed.notify_all()
            raise

    def _talk_on(self) -> None:
        while not self._closed:
            events = self._post.poll(LOOK_S)
            with self._changed:
                self._talk.era = self.era()
                self._hear(events)
                while self._placements:
                    self._place(self._placements.popleft())
                if self._members_changed:
                    self._members_changed = False
                    self._talk.ask_again()
                if time.monotonic() - self._said_s > self._again_s:
                    self._said_s = time.monotonic()
                    self._talk.again()
                self._talk.say()
                self._changed.notify_all()

    def _hear(self, events: list[Event[AnyLetter]]) -> None:
        for event in events:
            if isinstance(event, Posted):
                self._talk.take(event.peer, event.header, event.frames)
            elif self._peers.is_back(event):
                self._talk.again()
        events.clear()  # with the frames that came

    def _place(self, placement: PlaceSlots) -> None:
        self._peers.place(placement)
        self._talk.placed(placement)
        self._said_s = time.monotonic()

    def _send(self, server: str, letter: Letter, frames: Sequence[Frame]) -> None:
        try:
            self._post.send(server, _ENCODE(letter), frames)
        except PostFullError:
            return  # it will be said again
