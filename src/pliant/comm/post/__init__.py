"""Letters between workers and parameter servers: :class:`ZmqPost` over ZeroMQ, :class:`MemoryPost` for simulations."""
