"""What a parameter server and the coordinator may say to each other, over the WebSocket ``/v1/servers``."""

from __future__ import annotations

from pliant.wire.messages import Misbehave, Refused, Retire, StillHere, Taken
from pliant.wire.server_messages import (
    PlaceSlots,
    ServerFailed,
    ServerHello,
    ServerLeaving,
    ServerProgress,
    ServerWelcome,
    SlotsFilled,
    SlotsRefused,
)

ServerToCoordinator = (
    ServerHello | SlotsFilled | SlotsRefused | ServerProgress | ServerLeaving | ServerFailed | StillHere
)
CoordinatorToServer = ServerWelcome | PlaceSlots | Retire | Misbehave | Taken | Refused
