"""``python -m pliant.sim --first 0 --seeds 1000``: run many scenarios and say how they ended."""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from pliant.sim.ledger import ViolationError
from pliant.sim.world import simulate


def main() -> int:
    """Exit code 1 if any seed broke a rule; the first few stories go to stderr."""
    parser = argparse.ArgumentParser(prog="python -m pliant.sim", description=__doc__)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--stories", type=int, default=1, help="how many failures to tell in full")
    options = parser.parse_args()
    outcomes: Counter[str] = Counter()
    failed: list[int] = []
    happenings = faults = 0
    for seed in range(options.first, options.first + options.seeds):
        try:
            result = simulate(seed)
        except ViolationError as error:
            failed.append(seed)
            if len(failed) <= options.stories:
                print(error, file=sys.stderr)
            continue
        outcomes[result.outcome] += 1
        happenings += result.happenings
        faults += result.faults
    print(f"{options.seeds} seeds, {happenings} happenings, {faults} faults, outcomes {dict(outcomes)}")
    if failed:
        print(f"{len(failed)} seeds broke a rule: {failed[:50]}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
