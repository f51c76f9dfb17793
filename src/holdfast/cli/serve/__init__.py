"""`holdfast serve`: agents as a service on this machine, or for others with keys."""
