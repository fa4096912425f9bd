import asyncio

from pliant.control.streams import Streams
from pliant.wire.api import Event


def event(seq, job="j"):
    return Event(seq=seq, time_s=0.0, job=job, kind="k", step=0, message="m")


async def take(follower, count):
    return [await follower.next(1.0) for _ in range(count)]


def test_each_follower_gets_what_it_wants():
    async def scene():
        streams = Streams()
        one, everyone = streams.follow("j"), streams.follow(None)
        streams.publish(event(1))
        streams.publish(event(2, "k"))
        assert await take(one, 1) == [event(1)]
        assert await take(everyone, 2) == [event(1), event(2, "k")]
        assert await one.next(0.0) is None
        streams.leave(one)
        streams.publish(event(3))
        assert len(streams) == 1
        assert await one.next(0.0) is None

    asyncio.run(scene())


def test_a_slow_follower_holds_nobody_up():
    streams = Streams()
    slow = streams.follow(None)
    for seq in range(10_001):
        streams.publish(event(seq))
    assert slow.overrun
