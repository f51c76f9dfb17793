"""Contract v1: what a call of a tool looks like once it leaves this process, whatever carries it."""
