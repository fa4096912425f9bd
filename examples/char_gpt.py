"""A small character-level GPT that learns to write Python from the standard library's own sources.

Plain, in one process:        python examples/char_gpt.py --sample -
Elastic, on 1 to 3 workers:   pliant run --workers 1:3 examples/char_gpt.py --sample -

The only lines that know of Pliant are ``join``, ``Loader``, ``job.steps`` and ``step.backward``.
"""

from __future__ import annotations

import argparse
import string
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset

import pliant

ALPHABET = string.printable[:95] + "\n"
CODE = {character: number for number, character in enumerate(ALPHABET)}


@dataclass(frozen=True)
class Size:
    """How large the model is. The default has a third of a million parameters; 384, 6, 6, 128 make 10.7 million."""

    width: int = 96
    layers: int = 3
    heads: int = 4
    context: int = 48
    dropout: float = 0.02


def read_text(limit: int) -> str:
    """The first ``limit`` characters of the standard library's top-level modules, in order of their names."""
    parts: list[str] = []
    length = 0
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        source = path.read_text(encoding="utf-8", errors="ignore").expandtabs(4)
        parts.append("".join(character for character in source if character in CODE))
        length += len(parts[-1])
        if length >= limit:
            break
    return "".join(parts)[:limit]


class Windows(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """``count`` stretches of the text, evenly spread; the target is the same stretch, one character on."""

    def __init__(self, text: str, context: int, count: int) -> None:
        self.codes = torch.tensor([CODE[character] for character in text])
        self.context = context
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        start = index * (len(self.codes) - self.context - 1) // self.count
        window = self.codes[start : start + self.context + 1]
        return window[:-1], window[1:]


def look_back(x: torch.Tensor) -> torch.Tensor:
    """Half of the channels come from the place before: learning to look there takes attention far longer."""
    half = x.shape[-1] // 2
    return torch.cat([F.pad(x[:, :-1, :half], (0, 0, 1, 0)), x[..., half:]], dim=-1)


class Block(nn.Module):
    """Attention, then a two-layer network, each added to its own input."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.heads = size.heads
        self.dropout = nn.Dropout(size.dropout)
        self.norm_1 = nn.LayerNorm(size.width)
        self.attention = nn.Linear(size.width, 3 * size.width)
        self.merge = nn.Linear(size.width, size.width)
        self.norm_2 = nn.LayerNorm(size.width)
        self.widen = nn.Linear(size.width, 4 * size.width)
        self.narrow = nn.Linear(4 * size.width, size.width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, time, width) to the same."""
        batch, time, width = x.shape
        parts = self.attention(look_back(self.norm_1(x))).view(batch, time, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.dropout(self.merge(mixed.transpose(1, 2).reshape(batch, time, width)))
        return x + self.dropout(self.narrow(F.gelu(self.widen(look_back(self.norm_2(x))))))


class CharGPT(nn.Module):
    """Characters in, for each place the scores of the next character out."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.context = size.context
        self.character = nn.Embedding(len(ALPHABET), size.width)
        self.place = nn.Embedding(size.context, size.width)
        self.blocks = nn.Sequential(*(Block(size) for _ in range(size.layers)))
        self.norm = nn.LayerNorm(size.width)
        self.scores = nn.Linear(size.width, len(ALPHABET), bias=False)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """(batch, time) integers to (batch, time, characters)."""
        places = torch.arange(codes.shape[1], device=codes.device)
        return self.scores(self.norm(self.blocks(self.character(codes) + self.place(places))))

    @torch.no_grad()
    def write(self, beginning: str, length: int, seed: int) -> str:
        """Go on from ``beginning`` for ``length`` characters."""
        self.eval()
        stream = torch.Generator().manual_seed(seed)
        codes = torch.tensor([[CODE[character] for character in beginning]])
        for _ in range(length):
            scores = self(codes[:, -self.context :])[0, -1] / 0.7
            choice = torch.multinomial(scores.softmax(dim=0), 1, generator=stream)
            codes = torch.cat([codes, choice[None]], dim=1)
        return "".join(ALPHABET[code] for code in codes[0].tolist())


def arguments() -> argparse.Namespace:
    """The command line; the defaults take about 25 seconds on one core."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--batch", type=int, default=16, help="windows per step, over all workers")
    parser.add_argument("--shards", type=int, default=8, help="parts that a batch is dealt out in")
    parser.add_argument("--lr", type=float, default=5e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--chars", type=int, default=1_000_000, help="how much of the text to read")
    parser.add_argument("--width", type=int, default=Size.width)
    parser.add_argument("--layers", type=int, default=Size.layers)
    parser.add_argument("--heads", type=int, default=Size.heads)
    parser.add_argument("--context", type=int, default=Size.context)
    parser.add_argument("--sample", metavar="FILE", help="write some generated lines there at the end; - prints")
    parser.add_argument("--save", metavar="FILE", help="save the weights there at the end")
    return parser.parse_args()


def main() -> None:
    """Train; then, on one worker, sample and save."""
    args = arguments()
    torch.manual_seed(args.seed)
    model = CharGPT(Size(args.width, args.layers, args.heads, args.context))
    windows = Windows(read_text(args.chars), args.context, count=args.steps * args.batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.95), weight_decay=0.1)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, total_steps=args.steps)

    job = pliant.join(model=model, optimizer=optimizer, scheduler=scheduler)
    loader = pliant.Loader(windows, batch_size=args.batch, shards=args.shards, seed=args.seed)

    for step in job.steps(loader, epochs=1):
        for x, y in step:
            step.backward(F.cross_entropy(model(x).flatten(0, 1), y.flatten()))
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step.number + 1 < args.steps:
            scheduler.step()
        if step.is_main and step.number % 20 == 0:
            print(f"step {step.number:4d}   loss {step.loss:.3f}", flush=True)

    if not job.is_main:
        return
    if args.save:
        torch.save(model.state_dict(), args.save)
    if args.sample:
        text = model.write("def ", length=400, seed=args.seed)
        sys.stdout.write(text + "\n") if args.sample == "-" else Path(args.sample).write_text(text + "\n")


if __name__ == "__main__":
    main()
