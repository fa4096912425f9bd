"""Sample order, shards, the loader, and the ledger of what was seen."""

from pliant.data.base import Batch, Source
from pliant.data.ledger import SampleLedger
from pliant.data.loader import Loader
from pliant.data.order import EpochOrder
from pliant.data.shards_plan import sample_range, steps_per_epoch
from pliant.data.streams import seed_streams

__all__ = [
    "Batch",
    "EpochOrder",
    "Loader",
    "SampleLedger",
    "Source",
    "sample_range",
    "seed_streams",
    "steps_per_epoch",
]
