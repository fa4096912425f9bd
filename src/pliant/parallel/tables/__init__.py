"""Embedding tables of any key space: the rows that a parameter server holds, and the arithmetic of workers' lookups.

NumPy and torch only; no sockets, no threads. A :class:`~pliant.parallel.tables.row_store.RowStore` has the rows of one
table on one server: a :class:`~pliant.parallel.tables.row_index.RowIndex` from ids to positions, and arenas of memory
in which a row lies at its position. Reading and writing rows at random is all its time, which is that of cache misses;
hence one miss for each id, huge pages, and NumPy's ``take`` and ``put`` of whole rows, which are three times as fast as
torch's ``index_select`` and ``index_copy_``.
"""
