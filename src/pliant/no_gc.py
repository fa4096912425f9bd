"""Importing this turns the garbage collector off, for a process that imports torch and is then forked.

Hardly anything of what an import makes is garbage, but the collector looks through all of it again and again: that is a
seventh of the time that torch takes.
"""

from __future__ import annotations

import gc

gc.disable()


def freeze_and_enable() -> None:
    """All is imported: from now on garbage is collected, but not from what is there by now.

    The forks share these pages: a collection in one of them must not copy them.
    """
    gc.collect()
    gc.freeze()
    gc.enable()
