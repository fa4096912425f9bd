"""The worker side: what a training script calls, and the process that runs it."""
