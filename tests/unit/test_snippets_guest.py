"""What runs inside the interpreter of snippets, run here."""

from __future__ import annotations

import io
import json
import random
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from holdfast.sandbox.snippets import guest


@pytest.fixture(autouse=True)
def streams(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """It takes the streams of its interpreter, and its random numbers."""
    state = random.getstate()
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.StringIO())
    yield
    random.setstate(state)


def run(code: str, **more: Any) -> tuple[dict[str, Any], list[str]]:
    sent: list[str] = []

    def call(name: str, arguments: str) -> str:
        if name == "fails":
            return json.dumps({"error": "no such thing"})
        return json.dumps({"answer": [name, json.loads(arguments)]})

    request = json.dumps({"code": code, "inputs": None, "seed": 1, **more})
    return json.loads(guest.answer(request, sent.append, call)), sent


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        ("", None),
        ("1 + 1", 2),
        ("x = 5\nx", 5),
        ("result = 3", 3),
        ("result = 3\n4", 4),
        ("result = 3\nprint()", 3),
        ("def f():\n    return inputs\nf()", [1]),
        ("import sys; sys.exit()", None),
        ("call('add', {'a': 1})", ["add", {"a": 1}]),
        ("try:\n    call('fails')\nexcept RuntimeError as error:\n    result = str(error)", "no such thing"),
        ("__name__", "__main__"),
    ],
)
def test_the_answer_is_the_last_value_or_the_variable_result(code: str, answer: Any) -> None:
    assert run(code, inputs=[1])[0] == {"ended": "ok", "answer": answer}


def test_lines_leave_at_once_at_first_and_in_pieces_later() -> None:
    said, sent = run("for n in range(5000): print(n)")
    assert said["ended"] == "ok"
    assert sent[:3] == ["0\n", "1\n", "2\n"]
    assert "".join(sent) == "".join(f"{n}\n" for n in range(5000))
    assert len(sent) < 100


def test_what_is_printed_before_a_call_leaves_before_it() -> None:
    assert run("print('a', end='')\ncall('x')")[1][0] == "a"


@pytest.mark.parametrize(
    ("code", "ended", "words"),
    [
        ("1 / 0", "error", ["line 1", "1 / 0", "ZeroDivisionError"]),
        ("raise MemoryError", "memory", ["MemoryError"]),
        ("{1}", "error", ["not JSON serializable"]),
        ("'\\ud800'", "error", ["UnicodeEncodeError"]),
        ("raise KeyboardInterrupt", "error", ["KeyboardInterrupt"]),
        ("import sys; sys.exit(3)", "error", ["SystemExit: 3"]),
        ("x =", "error", ["SyntaxError", "x ="]),
        ("raise ValueError('y' * 10**6)", "error", ["y" * 100]),
    ],
)
def test_what_goes_wrong_is_said_with_the_snippets_own_lines(code: str, ended: str, words: list[str]) -> None:
    said, _ = run(code)
    assert said["ended"] == ended
    assert [word for word in words if word not in said["error"]] == []
    assert "guest.py" not in said["error"]
    assert len(said["error"]) <= 16_000


def test_random_numbers_come_from_the_request() -> None:
    code = "import random; random.random()"
    assert run(code, seed=7) == run(code, seed=7) != run(code, seed=8)
