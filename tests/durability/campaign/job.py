"""The job that is killed: the files it begins with, and what the model wants done to them in twelve steps.

Everything in it would show if it were done twice, done half or left out: edits that still fit after they were
made, two changes of one file in one turn, folders that do not exist yet, modes and a link that must stay, results
and answers too large for an event, a call that has to fail, and a message that joins at the end.
"""

from __future__ import annotations

from pathlib import Path

from holdfast.testing import Call, Turn

__all__ = ("FOLLOW_UP", "LEDGER", "PROMPT", "STEPS", "TOOLS", "TURNS", "lay_out")

PROMPT = "Bring the ledger and everything beside it up to date."
FOLLOW_UP = "Say in one line what you did."
TOOLS = ("write", "edit", "read")
LEDGER = "ledger.txt"

_FILES = {
    LEDGER: (0o640, b"opening 100\nEND\n"),
    "app/main.py": (0o755, b"#!/usr/bin/env python3\nprint('hello')\n"),
    "notes/long.txt": (0o644, b"".join(b"line %05d of the long file\n" % n for n in range(1800))),
    "notes/windows.txt": (0o600, b"alpha\r\nbeta\r\ngamma\r\n"),
    "notes/untouched.bin": (0o444, bytes(range(256))),
}
_LINKS = {"current": "app"}
_MODULE = "pkg/deep/er/module.py"


def lay_out(folder: Path) -> None:
    """Makes the workspace as it is before the run."""
    for name, (mode, data) in _FILES.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        file.chmod(mode)
    for name, target in _LINKS.items():
        (folder / name).symlink_to(target)


def _write(path: str, content: str) -> Call:
    return Call(name="write", arguments={"path": path, "content": content})


def _edit(path: str, *edits: tuple[str, str]) -> Call:
    changes = [{"oldText": old, "newText": new} for old, new in edits]
    return Call(name="edit", arguments={"path": path, "edits": changes})


def _read(path: str) -> Call:
    return Call(name="read", arguments={"path": path})


def _enter(line: str) -> Call:
    """An entry in the ledger: made twice, it would stand there twice."""
    return _edit(LEDGER, ("END\n", f"{line}\nEND\n"))


TURNS = (
    Turn("A module in folders that do not exist.", [_write(_MODULE, "value = 1\n")]),
    Turn(calls=[_enter("one 1")]),
    Turn("Two entries, one after the other.", [_enter("two 2"), _enter("three 3")]),
    Turn("I read while I write.", [_read("notes/long.txt"), _enter("four 4")]),
    Turn(calls=[_write("current/main.py", "print('good bye')\n"), _write("reports/2026/ä.md", "# Ä\n")]),
    Turn(calls=[_edit("notes/windows.txt", ("beta\n", "beta\nbeta two\n"), ("gamma", "gamma gamma"))]),
    Turn("What does the ledger say by now?", [_read(LEDGER)]),
    Turn(calls=[_edit(LEDGER, ("no such line\n", "")), _write("notes/new.txt", "x")]),
    Turn(calls=[_write("data/big.txt", "0123456789abcde\n" * 6000), _read("notes/windows.txt")], chunk=1024),
    Turn(calls=[_edit(_MODULE, ("value = 1", "value = 1 + 1")), _enter("ten 10")]),
    Turn("The ledger is up to date."),
    Turn("Five entries, a module, a report and some notes.", thinking="In one line."),
)
"""What the model says, step by step; before the last step comes the follow-up."""
STEPS = len(TURNS)
