"""The one error tree. A message says what happened with the values, why if known, and what to do."""

from __future__ import annotations


class PliantError(Exception):
    """Base of everything that Pliant raises on purpose."""


class ConfigError(PliantError):
    """Something the user wrote cannot work: an option, a plan, a loader. Lists all problems at once."""

    def __init__(self, problems: str | list[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class UsageError(PliantError):
    """The training loop broke a rule of the API (for example ``backward`` twice for one shard)."""


class NonFiniteLossError(PliantError):
    """The loss of a step was NaN or infinite and the job was asked to stop on that."""


class DivergedError(PliantError):
    """Two workers that must agree bit for bit do not."""


class StateError(PliantError):
    """A tracked object's state cannot be moved or loaded."""


class CheckpointError(PliantError):
    """A checkpoint is damaged, incomplete, or cannot be read or written."""


class MemoryLimitError(PliantError):
    """More would have been held in memory than a limit allows; it was refused before anything changed."""


class ConnectionLostError(PliantError):
    """A peer or the coordinator is gone. Internal: recovery handles it, users never see it raised."""

    def __init__(self, message: str, *, peer: str | None = None, closed: bool = False) -> None:
        self.peer = peer
        """The worker that was lost, where it is known."""
        self.closed = closed
        """Its end was closed or reset, as a worker does that has lost another one: it need not be the one to blame."""
        super().__init__(message)


class GenerationOverError(ConnectionLostError):
    """The process group in use was aborted because its generation ended."""


class ProtocolError(PliantError):
    """A message that breaks the protocol: malformed, oversized or out of order."""


class CoordinatorError(PliantError):
    """The coordinator refused a request or cannot be reached."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        self.status = status
        super().__init__(message)
