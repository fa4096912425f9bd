"""A model of awkward parameters, trained whole by one process and in slots by stores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from pliant.parallel.layout import Layout
from pliant.parallel.servers.dense_store import DenseStore
from pliant.parallel.servers.pieces import SlotRanges
from pliant.parallel.servers.slot_state import SlotState
from pliant.transfer.spec import decode, encode
from pliant.wire.server_messages import SLOTS

Make = Callable[[Any], torch.optim.Optimizer]
SHAPES = {"conv": (8, 3, 3, 3), "linear": (37, 23), "bias": (37,), "scale": (), "wide": (5, 400), "one": (1, 1)}


class Net(nn.Module):
    """Parameters in unusual strides, a tied one and a frozen one."""

    def __init__(
        self, dtype: torch.dtype = torch.float32, second_dtype: torch.dtype | None = None, *, gaps: bool = False
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)

        def random(*shape: int, dtype: torch.dtype = dtype) -> torch.Tensor:
            return torch.randn(shape, generator=generator).to(dtype)

        for name, shape in SHAPES.items():
            self.register_parameter(name, nn.Parameter(random(*shape)))
        self.conv = nn.Parameter(self.conv.detach().to(memory_format=torch.channels_last))
        self.turned = nn.Parameter(random(6, 50).t())
        self.gaps = nn.Parameter(random(4, 60)[:, ::2] if gaps else random(4, 30))
        self.frozen = nn.Parameter(random(9), requires_grad=False)
        self.other = nn.Parameter(random(11, 21, dtype=second_dtype or dtype))
        self.tied = self.linear


def layout_of(net: nn.Module) -> Layout:
    return Layout([(name, param) for name, param in net.named_parameters() if param.requires_grad], bucket_bytes=4096)


def gradients(layout: Layout, number: int) -> list[torch.Tensor]:
    """Flat buckets with a gradient that is a function of the number of the update; junk in the padding."""
    generator = torch.Generator().manual_seed(1000 + number)
    return [torch.randn(spec.numel, generator=generator).to(spec.dtype) for spec in layout.buckets]


def take(layout: Layout, flats: Sequence[torch.Tensor], present: Sequence[bool]) -> None:
    """Set ``.grad`` of the parameters as training does."""
    for index, param in enumerate(layout.params):
        param.grad = layout.view(flats, index).clone() if present[index] else None


def options(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    return [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]


def slot_params(layout: Layout, ranges: SlotRanges, slot: int) -> list[torch.Tensor]:
    """The parameters' present values, as a slot has them."""
    flats = [torch.zeros(spec.numel, dtype=spec.dtype) for spec in layout.buckets]
    for index, param in enumerate(layout.params):
        layout.view(flats, index).copy_(param.detach())
    return ranges.cut(slot, flats)


def travelled(state: SlotState) -> SlotState:
    """As it comes to another server: read only."""
    meta, tensors = encode(state.plain())
    return SlotState.from_plain(decode(meta, [tensor.clone() for tensor in tensors]))


class Cluster:
    """Stores that hold all slots of one model, as servers would; ``holder`` says which store has which slot."""

    def __init__(self, net: nn.Module, optimizers: dict[str, torch.optim.Optimizer], *, servers: int) -> None:
        self.layout = layout_of(net)
        self.ranges = SlotRanges(self.layout)
        self.stores = [DenseStore(self.layout, ranges=self.ranges, optimizers=optimizers) for _ in range(servers)]
        self.holder = [slot % servers for slot in range(SLOTS)]

    def begin(self) -> None:
        for slot in range(SLOTS):
            self.stores[self.holder[slot]].begin(slot, slot_params(self.layout, self.ranges, slot))

    def move(self, slot: int, server: int) -> None:
        source = self.stores[self.holder[slot]]
        state = travelled(source.snapshot(slot))
        source.drop(slot)
        self.stores[server].install(slot, state)
        self.holder[slot] = server

    def apply(self, name: str, flats: Sequence[torch.Tensor], *, groups: Any, present: Sequence[bool]) -> None:
        for number, store in enumerate(self.stores):
            grads = {slot: self.ranges.cut(slot, flats) for slot in range(SLOTS) if self.holder[slot] == number}
            store.apply(name, groups=groups, grads=grads, present=present)

    def values(self) -> list[torch.Tensor]:
        """All parameters, as a worker puts them together."""
        flats = [torch.empty(spec.numel, dtype=spec.dtype) for spec in self.layout.buckets]
        for slot, server in enumerate(self.holder):
            for view, mine in zip(self.ranges.cut(slot, flats), self.stores[server].params(slot), strict=True):
                view.copy_(mine)
        return [self.layout.view(flats, index) for index in range(len(self.layout.params))]

    def states(self) -> dict[int, SlotState]:
        return {slot: self.stores[server].snapshot(slot) for slot, server in enumerate(self.holder)}
