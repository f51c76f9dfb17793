"""The job whose commands run in sandboxes: what each of them does would show if it were done twice, half or not at all.

Its last step but one reaches outside, so that it must not happen twice.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from holdfast import tool
from holdfast.testing import Call, ScriptRequest, Turn

__all__ = ("RING", "TOOLS", "lay_out_more", "plant", "ring", "speak")

RING = f"{__name__}:ring"
TOOLS = ("bash", "write", "edit", "read", RING)


@tool(effect="unsafe")
def ring(book: str) -> str:
    """Ring a bell, which everybody hears each time: the book shows how often.

    Args:
        book: Where it is noted.
    """
    with Path(book).open("a") as file:
        file.write("rang\n")
    return "rang"


def lay_out_more(folder: Path, owner: int) -> None:
    """Adds what is protected to a workspace, and gives all of it to whoever runs the job."""
    (folder / ".git" / "hooks").mkdir(parents=True)
    (folder / ".git" / "config").write_text("[core]\n")
    (folder / "kept").mkdir()
    for each in (folder, *folder.rglob("*")):
        _own(each, owner)


def _own(path: Path, owner: int) -> None:
    mode = stat.S_IMODE(path.lstat().st_mode)
    os.lchown(path, owner, owner)
    if not path.is_symlink():
        path.chmod(mode)


def _bash(command: str) -> Call:
    return Call(name="bash", arguments={"command": command})


_MANY = (
    "mkdir -p many/deep && for i in $(seq 24); do echo $i > many/$i; done && chmod 640 many/3 && ln -s ../ledger.txt"
)
_COMMANDS = (
    "echo one >> ledger.txt && mkdir -p made/deep && printf x > made/run.sh && chmod 755 made/run.sh && chmod 750 made",
    f"{_MANY} many/deep/link && ln many/1 many/one && echo $((40 + 2)) > 'many/a b'",
    "mkdir -p .vscode && echo '{}' > .vscode/settings.json; echo x > .git/hooks/pre-commit; echo y >> .git/config; "
    "touch .envrc; echo two >> ledger.txt",
    "mv app/main.py app/moved.py && rm -r notes && mkdir notes && echo new > notes/new; rm current; ln -s kept current",
    "echo half >> ledger.txt; rm -r many/deep; exit 3",
    "head -c 30000 /dev/zero | tr '\\0' a > big.bin; truncate -s 1M holes; printf end >> holes; sleep 0.05; wc big.bin",
)
_EDIT = Call(name="edit", arguments={"path": "ledger.txt", "edits": [{"oldText": "one\n", "newText": "one\n1\n"}]})
_WRITE = Call(name="write", arguments={"path": "made/deep/er/file.txt", "content": "written\n"})


def speak(request: ScriptRequest) -> Turn:
    """Says what is to be done next; the prompt names the book."""
    turns = [
        Turn(calls=[_bash(_COMMANDS[0])]),
        Turn(calls=[_EDIT, _bash(_COMMANDS[1]), _WRITE]),
        *(Turn(calls=[_bash(each)]) for each in _COMMANDS[2:]),
        Turn(calls=[Call(name="ring", arguments={"book": request.first_user_text})]),
        Turn("Done."),
    ]
    return turns[request.answers]


def plant(request: ScriptRequest) -> Turn:
    """Lays something where programs outside look, and asks what came of it."""
    if request.answers:
        return Turn(f"It says: {request.last_result}")
    command = "mkdir .vscode; echo x > .vscode/tasks.json; git init -q .; echo x > .git/hooks/pre-commit; echo y > kept"
    return Turn(calls=[_bash(command)])
