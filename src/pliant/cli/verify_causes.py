"""What ``pliant verify`` says about a cause: what it is, and what to do. Pure."""

from __future__ import annotations

from typing import NamedTuple

from pliant.cli.verify_plan import Cause, Diagnosis, Difference

_MOST_NAMES = 6


class Text(NamedTuple):
    """One cause in words."""

    title: str
    advice: str


TEXTS: dict[Cause, Text] = {
    "unseeded": Text(
        "unseeded randomness before training: the runs begin with different weights",
        "call torch.manual_seed(...) (and seed NumPy and random) at the top of the script, before the model is built",
    ),
    "data-varies": Text(
        "the data is another one in each run: an unseeded generator, the clock, os.urandom, or an order of files that "
        "is not fixed in the dataset",
        "take random numbers from torch, random or numpy.random, which are seeded for each shard, and sort listings",
    ),
    "nondeterministic": Text(
        "something is not deterministic: a kernel that adds in another order each time, an unseeded generator, "
        "os.urandom or the clock. Two undisturbed runs differ as well, with the same batches",
        "use torch.use_deterministic_algorithms(True), and look at custom autograd functions and extensions",
    ),
    "own-generator": Text(
        "random numbers are drawn outside the shard's streams, from a generator of the script's own: which numbers a "
        "shard gets then depends on what the worker computed before",
        "use torch's, Python's or NumPy's global functions, which are seeded for each shard, or make the generator "
        "anew from them for each batch",
    ),
    "data-depends": Text(
        "a shard's data depends on the worker, or on what it has fetched before: a counter or a generator in the "
        "dataset, a cache, or a stream that ignores `start`",
        "make each sample a function of its index (of a stream: of shard, epoch and start) and of the seeded streams",
    ),
    "counts-batches": Text(
        "state that changes with every batch, outside of parameters and buffers: a global counter, a running value, "
        "or code that depends on the worker. It differs as soon as the shards are dealt to other workers",
        "make it a function of step.number, or a registered buffer, which Pliant combines over the shards",
    ),
    "lost-at-join": Text(
        "an untracked piece of state: workers that were there all the time agree, one that has joined does not have it",
        "give it state_dict and load_state_dict and name it in pliant.join(...), or make it a function of step.number",
    ),
    "loop-body": Text(
        "the body of the loop does something else on another worker: all workers had the same gradient, and the update "
        "differs",
        "take out what depends on the rank, on the worker or on its shards, or keep it for output only",
    ),
    "threads": Text(
        "workers use different numbers of intra-op threads, and kernels split their sums by threads",
        "leave torch.set_num_threads alone, or give all workers the same number: pliant run --threads, "
        "pliant.join(threads=...)",
    ),
    "stream": Text(
        "the dataset ignores its shard: several shards of one step have the very same samples, so every sample "
        "counts several times",
        "have the function give only the samples of its shard, for example every `shards`-th one from `shard` on",
    ),
}


def describe(diagnosis: Diagnosis) -> list[str]:
    """The lines below the verdict: where, likely cause, what to do."""
    lines: list[str] = []
    if diagnosis.difference is not None:
        lines.append(f"first difference: {place(diagnosis.difference)}")
    if diagnosis.state is not None and diagnosis.difference is not None and diagnosis.difference.tensor is None:
        step, tensor = diagnosis.state
        lines.append(f"first tensor:     {tensor}, before step {step}")
    if diagnosis.cause is not None:
        text = TEXTS[diagnosis.cause]
        lines += [f"likely cause:     {text.title}"]
        if diagnosis.difference is not None and diagnosis.difference.changed:
            names = diagnosis.difference.changed
            more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
            lines.append(f"changes there:    {', '.join(names[:_MOST_NAMES])}{more} (not tracked)")
        lines.append(f"what to do:       {text.advice}")
    return lines


def place(found: Difference) -> str:
    """Where a difference is, in words."""
    who = ", ".join(found.workers)
    on = f" on {who}" if who else ""
    if found.newcomers and who:
        on += ", which had joined" if len(found.workers) == 1 else ", which had all joined"
    threads = "" if found.threads is None else f" ({found.threads[1]} threads there, {found.threads[0]} otherwise)"
    texts = {
        "initial": f"{found.tensor}, before step {found.step}, the first of all",
        "batch": f"the data of shard {found.shard} of step {found.step}{on}",
        "loss": f"the loss of shard {found.shard} of step {found.step}{on}; state and data were the same",
        "gradient": f"the mean gradient of step {found.step}; all losses were the same",
        "update": f"{found.tensor} after step {found.step}{on}; all gradients were the same",
    }
    return texts[found.where] + threads
