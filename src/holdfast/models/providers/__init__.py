"""Providers: who speaks which wire, at which address, with which key.

Purpose: one adapter of the `Model` port for each provider, and the way from a name to one of them.
Knows: `wire`, `catalogue`, `failures`, `net`.
Must not know: runs, tools' functions, the log.
Start reading at: `finding.py`.
"""
