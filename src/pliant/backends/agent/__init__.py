"""``python -m pliant.backends.agent``: one per job and node; starts worker processes and reports their ends.

A package with a ``__main__``, not a module: multiprocessing imports the main *module* of a parent again in every
child, and skips that only for a package's ``__main__``.
"""
