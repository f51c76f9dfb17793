"""The floors: for each protocol the least a client can do, hand-written, with nothing of Holdfast."""
