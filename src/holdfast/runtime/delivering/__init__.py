"""What goes along with a run: files it is given, its result to whoever wants it, and word of it to an audit.

Purpose: the outbox and the audit, which are projections of the log with their own positions; targets; input files.
Knows: the log and its feed, blobs, targets and hooks that people bring.
Must not know: how a run is decided, or driven; nothing that happens here changes how a run ended.
Start reading at: `port.py`, then `deliverer.py`.
"""
