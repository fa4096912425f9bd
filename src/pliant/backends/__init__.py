"""What starts worker processes: the local agent now, other engines behind the same protocol."""
