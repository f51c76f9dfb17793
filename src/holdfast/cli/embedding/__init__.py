"""`holdfast embed`: texts by their vectors."""
