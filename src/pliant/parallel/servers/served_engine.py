"""The numeric side of a pass on a worker whose servers add up, hold the mean, and apply the optimizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from pliant.comm.base import Group
from pliant.parallel.engine import PassEngine, PassResult
from pliant.parallel.partials import Partials
from pliant.parallel.pass_messages import Pre
from pliant.parallel.reduce import Reduction
from pliant.parallel.servers.client import ServersClient
from pliant.parallel.servers.client_work import RowUpdateWork
from pliant.parallel.servers.served_parameters import ServedParameters
from pliant.parallel.servers.served_reduction import ServedReduction

CountUpdate = Callable[[Callable[[int], object]], None]


class ServedEngine(PassEngine):
    """As :class:`pliant.parallel.engine.PassEngine`; a worker alone sends its sums as well."""

    def __init__(
        self,
        models: Mapping[str, nn.Module],
        shards: int,
        *,
        served: ServedParameters,
        client: ServersClient,
        count: CountUpdate,
    ) -> None:
        """``count`` calls what it is given with the number of the next update, which it then counts as done."""
        super().__init__(models, shards)
        self._served, self._client, self._count = served, client, count

    def warm(self) -> None:
        """See :class:`pliant.parallel.engine.PassEngine`; the servers hold the results."""
        self._use_parameters()
        partials = self._current_partials()
        spare = partials.layout.new_flats()
        for flat in spare:
            flat.zero_()
        partials.give(spare)

    def _has_peers(self, group: Group) -> bool:
        return True

    def _reduction_over(self, group: Group, partials: Partials, pre: Pre) -> Reduction:
        assert self._staging is not None
        return ServedReduction(
            group,
            partials,
            client=self._client,
            ranges=self._served.ranges,
            rows=self._rows,
            pre=pre,
            exchange=self._exchange,
            staging=self._staging,
            check=self._state.check,
        )

    def _place_means(self, result: PassResult) -> None:
        self._served.place_gradients(self._client, self._state.number, result.present)

    def _update_rows(self, result: PassResult) -> None:
        if self._rows.tables:
            self._count(lambda number: self._client.ask(RowUpdateWork(number, self._state.number)))
