"""Holds at places inside the runtime, put in by the script from outside: the runtime itself knows nothing of tests."""

from pliant.comm.mesh import EXCHANGE_KIND, MeshGroup
from pliant.parallel.pass_messages import ACK, PART, RESULT
from pliant.training.groups import Groups
from pliant.transfer.move import DATA

FRAMES = {EXCHANGE_KIND: "exchange", PART: "part", RESULT: "result", ACK: "ack", DATA: "data"}


def hold_inside(book):
    """From now on this process can be held

    * in ``FRAME-to-RANK``: just before it sends this frame to that member of the group. All frames before are sent;
    * in ``await``: before it waits for the coordinator's next generation.
    """
    post, await_next = MeshGroup.post, Groups.await_next

    def held_post(group, peer, kind, index, body):
        phase = f"{FRAMES[kind]}-to-{peer}" if kind in FRAMES else ""
        if phase and book.held(phase):
            deliver(group)
            book.hold(phase)
        post(group, peer, kind, index, body)

    def held_await_next(groups):
        book.hold("await")
        return await_next(groups)

    MeshGroup.post, Groups.await_next = held_post, held_await_next


def deliver(group):
    """Hand over to the kernel what is queued; the peers' threads read it whatever becomes of this process."""
    for channel in group._channels.values():
        while channel.sending:
            channel.flush()
