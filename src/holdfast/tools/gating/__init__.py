"""The parts of the gateway that need a place of their own: what it admits, the files, the hooks."""
