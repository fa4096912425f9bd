"""All-reduce data parallelism: shard gradients in, the mean gradient out, bit for bit the same everywhere."""
