"""The models by name: what a row of their input is. Imports no torch, so that the harness maps none of its pages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One row of a model's input, and the model in words and bytes."""

    dtype: str
    shape: tuple[int, ...]
    weights_bytes: int
    telling: str


SMALL, LARGE = "mlp", "wide"
"""Of the memory's two models."""
ROWS = {
    "mlp": Row("float32", (96,), 2_691_112, "MLP of 0.67 million parameters, 2.7 MB"),
    "cnn": Row("float32", (1, 8, 8), 117_032, "the digits CNN of examples/digits_cnn.py"),
    "gpt": Row(
        "int64", (48,), 1_435_008, "the GPT of examples/char_gpt.py, 48 characters in, the scores of the next one out"
    ),
    "slow": Row("int64", (32,), 42_934_272, "the same GPT with 10.7 million parameters, 32 characters in"),
    "wide": Row("float32", (96,), 102_160_040, "MLP with 102 MB of weights"),
}
