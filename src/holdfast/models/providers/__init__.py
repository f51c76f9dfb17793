"""Providers: who speaks which wire, at which address, with which key.

Purpose: a table of them, one adapter of the `Model` port for each way to be asked, a row of data for each server that
speaks Chat Completions, and the way from a name to a model.
Knows: `wire`, `catalogue`, `failures`, `net`.
Must not know: runs, tools' functions, the log.
Start reading at: `table.py`, then `talking.py` and `servers.py`.
"""
