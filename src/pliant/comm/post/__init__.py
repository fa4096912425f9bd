"""Letters between workers and parameter servers: ``ZmqPost`` over ZeroMQ, ``MemoryPost`` for simulations.

Measured between two processes on 2 cores that had other work as well: frames of 1 MiB, 16 in a letter, about 2.3 GB/s
over a socket file and 0.5 GB/s over TCP with CURVE; 50,000 to 70,000 small letters a second; 0.3 ms there and back. The
kernel's own sizes of socket buffers were as good as smaller and larger ones.
"""
