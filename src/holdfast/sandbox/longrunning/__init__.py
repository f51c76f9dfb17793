"""Processes that go on after the call that started them: servers, watchers, builds that take an hour.

Purpose: keep what they print in bounded memory, reach their ports, end them, and know for a while how they ended.
Knows: output, signals, sockets; each backend says how one is started and reached.
Must not know: tools, runs, the log.
Start reading at: `process.py`, then `keeping.py`.
"""
