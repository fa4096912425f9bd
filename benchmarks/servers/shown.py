"""The tables of the page, and the words beside them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.page import row
from benchmarks.servers import aims
from benchmarks.servers.accounts import DenseResult, Footprint, ServerChange, TableResult

WHY = (
    "Why: in a step of all-reduce each of n workers sends (n - 1) / n of the gradients, and takes as much. With "
    "servers each worker sends its whole sums and takes all parameters, which is twice as much for two workers; "
    "each second copy of a slot is sent the mean gradient, and computes the update once more. In return the update "
    "is computed once for each copy, and not once on each worker. So on few workers that share a machine, as here, "
    "servers cost more than they save: all that is moved is moved by the processors that compute. They gain with "
    "each further worker, with optimizers that compute or keep much, and with processors of their own."
)
MEMORY = (
    "The optimizer's state is gone from the workers. What is sent and received is there twice for a moment, in parts "
    "(4 MB of parameters, 8 MB of gradients a letter). Beyond the model: the peak of RSS in training less RSS once the "
    "model was built; gradients (4 bytes a parameter) are in it under every strategy."
)
SLOW = (
    "Without a bound on staleness, or with one, each shard is an update of its own: 12 times as many updates as in "
    "synchronous training, each from a twelfth of the samples, and of gradients that are as many updates old as the "
    "last column says. So the losses, after the same samples in the same order with the same learning rate, are not "
    "those of the same training: they say that it works, not which one is the better for a model."
)
HOW = (
    "One intra-op thread for each process; all jobs are jobs of `pliant run` on one machine, whose cores workers and "
    "servers share."
)
HOW_PARTS = {
    "dense": (
        "Dense: all strategies of a comparison are alive at once and train in turns, every other round in the "
        "opposite order (benchmarks/turns.py); a ratio is that of the median steps of one round. AdamW, four shards "
        "for each worker (eight where 2 and 4 workers are compared), dealt evenly; the learning rate is so low that "
        "nothing is learnt, because gradients near zero slow processors down. mlp, wide, huge: MLPs of 1, 10 and 39 "
        "million parameters, gpt: the GPT of examples/char_gpt.py with 10.7 million. Operations: 6 for each parameter "
        "and row or token. Up to 1.05 times all-reduce counts as equally fast. Memory is read while all jobs stand "
        "still after their last turn: PSS counts a process's private pages and its part of the shared ones; RSS, and "
        "peak, which is of RSS, count shared ones (torch's libraries) fully."
    ),
    "tables": (
        "Tables: one worker; 65,536 ids a batch, in bags of 8, the k-th id in proportion to 1 / (k + 1), Adagrad; in "
        "turns, as above. All rows of Pliant's and torch's tables are there before it is measured, the dict has those "
        "that the batches look up."
    ),
    "recovery": (
        "Recovery: a job of 2 workers and 2 servers with 2 copies. Servers are killed with SIGKILL; then it is asked "
        "for 3, 4, 3 and 2 servers, again and again. A stall is the longest gap between two commits around the event "
        "less the median one before it, as in the job's report; the same measure over as many steps right before the "
        "event tells how much of it is this machine's noise. All bytes: of both copies, parameters, AdamW's two "
        "moments and the gradient of the pass in hand. Bytes are those that the server received of slots' contents, "
        "from the report."
    ),
    "async": (
        "One slow worker: 3 workers, 2 servers, 12 shards, the MLP of 1 million parameters, AdamW with a learning rate "
        "of 0.001, labels of a linear teacher. From step 20 on one worker sleeps after each shard, so that it takes "
        "5 times as long; rates are those of the committed steps from 30 steps later on, from the report's times. "
        "A round is one run of each kind, one after the other, every other round in the opposite order; ratios are "
        "those within a round. The final loss is the mean of the last ten steps'. Staleness: updates that others had "
        "applied between a worker's pull and its push."
    ),
}


def steps_table(results: Sequence[DenseResult]) -> str:
    """A line for each strategy."""
    heads = ("model", "workers", "strategy", "batch", "step ms", "over all-reduce, same workers", "same processes")
    lines = [row(*heads), row(*["---"] * len(heads))]
    for r in results:
        ratios = ["" if over is None else over.text() for over in (r.over_workers, r.over_processes)]
        lines.append(row(r.model, r.workers, r.label, r.batch, r.step_s.text(scale=1e3, digits=1), *ratios))
    return "\n".join(lines)


def memory_table(results: Sequence[DenseResult]) -> str:
    """A line for each strategy."""
    sizes = "PSS / private / RSS / peak"
    heads = ("model", "workers", "strategy", f"worker: {sizes}", "its peak beyond the model", f"server: {sizes}")
    lines = [row(*heads), row(*["---"] * len(heads))]
    for r in results:
        beyond = "" if r.beyond_bytes is None else f"{r.beyond_bytes / 1e6:.0f}"
        server = "" if r.server is None else _sizes(r.server)
        lines.append(row(r.model, r.workers, r.label, _sizes(r.worker), beyond, server))
    return "\n".join(lines)


def _sizes(found: Footprint) -> str:
    sizes = (found.pss_bytes, found.private_bytes, found.rss_bytes, found.peak_bytes)
    return " / ".join(f"{size / 1e6:.0f}" for size in sizes)


def changes_table(changes: Sequence[ServerChange]) -> str:
    """A line for each kind of event."""
    heads = ("model", "event", "count", "step ms", "stall ms", "without event ms", "all held again s", "MB sent")
    lines = [row(*heads, "slot copies", "of all bytes", "bound"), row(*["---"] * (len(heads) + 3))]
    for model, what, servers in dict.fromkeys((change.model, change.what, change.servers) for change in changes):
        same = [change for change in changes if (change.model, change.what, change.servers) == (model, what, servers)]
        step, stall, calm, seconds, size, share = (
            aims.over(same, value)
            for value in (
                lambda change: change.step_s,
                lambda change: change.stall_s,
                lambda change: change.calm_s,
                lambda change: change.seconds,
                lambda change: change.bytes_moved,
                aims.moved_share,
            )
        )
        text, bound = (
            (f"SIGKILL, one of {servers}", "") if what == "kill" else (f"{servers} to {servers + 1}", _bound(servers))
        )
        cells = [found.text(scale=1e3, digits=1) for found in (step, stall, calm)]
        slots = f"{max(change.slot_copies for change in same)}" if what == "add" else ""
        cells += [seconds.text(), size.text(scale=1e-6, digits=1), slots, share.text(digits=3), bound]
        lines.append(row(model, text, len(same), *cells))
    return "\n".join(lines)


def _bound(servers: int) -> str:
    return f"1/{servers + 1} = {1 / (servers + 1):.3f}"


def tables_table(results: Sequence[TableResult]) -> str:
    """A line for each system. Rows a second: pulled and pushed, together."""
    heads = ("system", "rows", "ids a batch", "different", "batch ms", "rows a second", "Pliant's rate over it")
    lines = [row(*heads), row(*["---"] * len(heads))]
    for r in results:
        ahead = ", ".join(f"{found.text()} with {name}" for name, found in r.ahead.items())
        cells = (f"{r.rows:,}", f"{r.ids:,}", f"{r.unique:,.0f}", r.step_s.text(scale=1e3, digits=1), f"{r.rate:,.0f}")
        lines.append(row(r.what, *cells, ahead))
    return "\n".join(lines)
