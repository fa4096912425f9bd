"""The coordinator's event stream, followed across restarts of the coordinator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import quote

import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus, WebSocketException

from pliant.config import Home
from pliant.errors import CoordinatorError
from pliant.timeouts import DEFAULT_PATIENCE_S, Timeouts
from pliant.wire.address import read_address
from pliant.wire.api import StreamItem
from pliant.wire.token import read_token

_FIRST_DELAY_S = 0.1
_LONGEST_DELAY_S = 2.0
_MAX_BYTES = 16 << 20


@dataclass(frozen=True)
class Away:
    """The stream broke, for the first time since the last item; it is tried again."""

    why: str


async def follow(
    home: Home, job: str, *, after: int = 0, patience_s: float = DEFAULT_PATIENCE_S
) -> AsyncIterator[StreamItem | Away]:
    """All events of ``job`` from ``after`` on, and statuses, until the caller has enough. Reconnects for ever.

    A connection over which no answer comes is given up within half of ``patience_s``.

    Raises:
        CoordinatorError: The coordinator refuses: wrong token, unknown job.
    """
    decoder = msgspec.json.Decoder(StreamItem)
    times = Timeouts(patience_s)
    delay_s, told = _FIRST_DELAY_S, False
    while True:
        why = "no coordinator is running"
        address = read_address(home)
        try:
            if address is not None:
                url = f"ws://{address.host}:{address.port}/v1/events?job={quote(job, safe='')}&after={after}"
                headers = {"Authorization": f"Bearer {read_token(home.token)}"}
                async with connect(
                    url,
                    additional_headers=headers,
                    proxy=None,
                    max_size=_MAX_BYTES,
                    ping_interval=times.ping_s,
                    ping_timeout=times.pong_s,
                    close_timeout=times.pong_s,
                ) as socket:
                    async for data in socket:
                        item = decoder.decode(data)
                        delay_s, told = _FIRST_DELAY_S, False
                        if item.event is not None:
                            after = max(after, item.event.seq)
                        yield item
                    why = "the connection was closed"
        except InvalidStatus as error:
            code = error.response.status_code
            if code in {401, 403, 404}:
                raise CoordinatorError(
                    f"the coordinator refused the event stream of {job} ({code})", status=code
                ) from error
            why = str(error)
        except (OSError, WebSocketException) as error:
            why = str(error) or repr(error)
        if not told:
            told = True
            yield Away(why)
        await asyncio.sleep(delay_s)
        delay_s = min(2 * delay_s, _LONGEST_DELAY_S)
