"""Process groups between workers, and the tree in which everything is summed."""
