"""What scopes compare: each kind of argument in its one spelling, and the patterns of it."""
