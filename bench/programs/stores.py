"""Where a program's log is, and what the disk under it can do without Holdfast."""

import os
import sqlite3
import time
from pathlib import Path

__all__ = ("lone_commits_per_second", "store_url")


def store_url(store: str) -> str:
    """The address of a fresh log: `memory`, or `sqlite` for a file of this process in the bench's folder."""
    return "memory:" if store == "memory" else f"sqlite:///{os.environ['BENCH_DATA']}/{os.getpid()}.db"


def lone_commits_per_second(times: int = 200) -> float:
    """How many rows a bare SQLite stores in a second when each is a synced commit of its own."""
    path = Path(os.environ["BENCH_DATA"]) / f"lone-{os.getpid()}.db"
    store = sqlite3.connect(path, isolation_level=None)
    store.execute("PRAGMA journal_mode=WAL")
    store.execute("PRAGMA synchronous=FULL")
    store.execute("CREATE TABLE event (seq INTEGER PRIMARY KEY, body BLOB)")
    start = time.perf_counter()
    for _ in range(times):
        store.execute("INSERT INTO event (body) VALUES (?)", (b"x" * 300,))
    took = time.perf_counter() - start
    store.close()
    return times / took
