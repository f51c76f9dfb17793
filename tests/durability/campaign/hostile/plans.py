"""What the model wants done in runs that mix every class of effect: from a seed, so that a case can be played again.

Every label stands for one thing at the service. Commands change files that they do not name: lines are added, so that
a second time would show, and things are removed, linked, moved and given other modes. One leaves a process behind in
a session of its own, which goes on writing when its command, or the whole runtime, is gone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

import msgspec
from tests.durability.campaign.hostile.calls import CALLS

from holdfast.testing import Call, ScriptRequest, Turn

__all__ = ("TOOLS", "Plan", "plan_of", "speak")

TOOLS: Final = ("write", "edit", "read", "bash", *CALLS)
"""What the agent is given."""
_LINES: Final = "lines.txt"
_MANY: Final = """
mkdir -p many/a many/b/c && for n in 1 2 3 4 5 6 7 8; do echo "$n" > "many/a/$n"; done; echo once >> count.txt
sleep 0.03; rm -r notes/long.txt many/a/[1-3]; chmod 700 many/a; chmod 444 many/a/4; ln -s a/5 many/five
sleep 0.03; mv many/a/6 many/b/c/six; chmod 755 count.txt; mkdir many/empty; rm -rf errands/none; rm current
"""
_AGAIN: Final = """
mkdir -p more; for n in $(seq 40); do echo "line $n" >> more/long.txt; done; sleep 0.02; chmod 600 app/main.py
ln more/long.txt more/second; sleep 0.02; echo again >> app/main.py; rm -f notes/untouched.bin; mkdir -m 711 more/x
"""
_STRAY: Final = """
setsid bash -c 'sleep 0.08; echo late >> stray.txt' < /dev/null > /dev/null 2>&1 &
echo early >> stray.txt; wait; cat stray.txt
"""


class Plan(msgspec.Struct, frozen=True):
    """One job."""

    seed: int
    turns: tuple[Turn, ...]
    wanted: dict[str, tuple[str, ...]]
    """The labels of what has to be done, by kind."""


@lru_cache
def plan_of(seed: int) -> Plan:
    """Returns the job of that seed."""
    luck = random.Random(seed)
    groups = _groups()
    luck.shuffle(groups)
    turns: list[Turn] = []
    for number, group in enumerate(groups):
        luck.shuffle(group)
        turns.append(Turn("One thing and another." if number % 2 else "", group))
    calls = [call for group in groups for call in group]
    wanted: dict[str, list[str]] = {"keyed": [], "checkable": [], "unsafe": []}
    for name, label in _labels(calls):
        wanted[_KINDS[name]].append(label)
    return Plan(seed, (*turns, Turn("All of it is done.")), {kind: tuple(each) for kind, each in wanted.items()})


def speak(request: ScriptRequest) -> Turn | None:
    """Speaks the lines of the plan whose seed is the last word of the prompt."""
    turns = plan_of(int(request.first_user_text.split()[-1])).turns
    return turns[request.answers] if request.answers < len(turns) else None


_KINDS: Final = {"charge": "keyed", "publish": "keyed", "book": "checkable", "ring": "unsafe"}


def _labels(calls: list[Call]) -> Iterator[tuple[str, str]]:
    for call in calls:
        given: Any = call.arguments
        if call.name in _KINDS:
            yield call.name, given["label"]
        elif call.name == "errand":
            names = [given["label"], *([f"{given['label']}-more"] if given.get("deeper") else [])]
            yield from ((name, f"{label}-{name}") for label in names for name in ("charge", "book", "ring"))


def _groups() -> list[list[Call]]:
    """The calls of each turn; the order of turns and of the calls in them does not matter."""
    return [
        [_call("charge", "ann"), _call("book", "room"), _call("ring", "door"), _look("a table"), _write(_LINES, "x\n")],
        [_bash(_MANY)],
        [Call("errand", {"label": "shop", "deeper": True})],
        [_publish("ledger.txt", "june"), _edit("END\n", "two\nEND\n"), _call("charge", "bob"), _call("ring", "roof")],
        [_call("book", "hall"), _call("book", "hut"), _call("ring", "gate"), _call("charge", "cid")],
        [_bash(_STRAY), _look("a chair"), _call("ring", "yard")],
        [Call("errand", {"label": "post"}), _edit("END\n", "three\nEND\n"), _call("book", "boat")],
        [_bash(_AGAIN), _publish("notes/windows.txt", "july"), _call("charge", "dan")],
    ]


def _call(name: str, label: str) -> Call:
    return Call(name, {"label": label})


def _look(what: str) -> Call:
    return Call("look", {"what": what})


def _publish(path: str, label: str) -> Call:
    return Call("publish", {"path": path, "label": label})


def _write(path: str, content: str) -> Call:
    return Call("write", {"path": path, "content": content})


def _edit(old: str, new: str) -> Call:
    return Call("edit", {"path": "ledger.txt", "edits": [{"oldText": old, "newText": new}]})


def _bash(command: str) -> Call:
    return Call("bash", {"command": command})
