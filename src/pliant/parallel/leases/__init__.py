"""Work without generations: who computes which shard, when workers do not wait for each other."""
