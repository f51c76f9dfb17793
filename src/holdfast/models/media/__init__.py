"""Pictures and documents, made into what a target takes.

Purpose: what bytes really are, what each provider takes, and one conversation made to fit one target: pictures smaller
or of another type, the newest of too many, and a clear refusal where nothing helps.
Knows: `types`, `flow`; in `remaking.py` Pillow, which is an extra.
Must not know: wires, keys, connections, runs; what stands in the log, which stays as it is.
Start reading at: `preparing.py`.
"""
