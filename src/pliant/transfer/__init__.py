"""State between the memories of workers, without pickle."""
