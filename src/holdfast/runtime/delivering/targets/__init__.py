"""Targets: a folder, an HTTP endpoint, a function.

Purpose: the adapters of the port in `port.py`, one file each, and how a name becomes one.
Knows: files, the HTTP client, functions that people bring.
Must not know: when something is delivered, and how often.
Start reading at: `finding.py`.
"""
