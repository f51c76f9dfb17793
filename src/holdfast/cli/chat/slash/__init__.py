"""Commands that begin with a slash: `table.py` has them all."""
