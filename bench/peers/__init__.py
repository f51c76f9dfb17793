"""The same cases in other frameworks, one file each, written the way their documentation streams an agent run.

Each runs only where it is importable, through Chat Completions, with its telemetry off and its own HTTP
client. Its events are consumed by the caller and the text is put together from them, not taken from a result.
"""
