"""`python -m tests.docs.capturing`: draws the captures of the guide anew, with the real program and a scripted model.

What is seen is what the program drew: `chat` on a terminal of its own, `runs watch` as its screen composed it. The
demo's project stands for a reader's own.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.docs.drawing import Coloured, draw, segments_of
from tests.docs.playing import ROOT
from tests.running import scene
from tests.surfaces.chatting import chatting
from tests.surfaces.commands import shell
from tests.surfaces.test_approve import asked, asking
from tests.surfaces.test_screen import on_terminal
from tests.surfaces.watching import watching

from holdfast.cli.run import coder
from holdfast.testing import Call, Turn
from holdfast.testing.scripts import Tokens
from holdfast.types import Limits

__all__ = ("CAPTURES", "capture_chat", "capture_question", "capture_review", "capture_watch", "main")

CAPTURES = ROOT / "docs" / "captures"
_JOB = "Why does the invoice say 7:60?"
_OLD = "    hours, rest = divmod(seconds, _HOUR)\n    return hours, (rest + _MINUTE // 2) // _MINUTE\n"
_NEW = "    return divmod((seconds + _MINUTE // 2) // _MINUTE, _HOUR // _MINUTE)\n"
_USED = Tokens(input_tokens=2400, output_tokens=160)
_QUESTIONS = {
    "questions": [
        {
            "question": "Where are the orders to be kept?",
            "header": "Storage",
            "options": [
                {
                    "label": "PostgreSQL",
                    "description": "what production runs; the tests need a server, which takes some seconds to start",
                },
                {"label": "SQLite", "description": "a file"},
            ],
        },
        {
            "question": "On which days are they sent?",
            "options": [{"label": "Monday"}, {"label": "Wednesday"}, {"label": "Friday"}],
            "multiple": True,
            "free": False,
        },
    ]
}
_ANSWER = """\
# What changed

- `split_minutes` rounds **before** it takes the hours off
- two tests of the carry

Nothing that calls it has to change.
"""


def _turns() -> list[Turn]:
    used = _USED
    edit = {"path": "tally/durations.py", "edits": [{"oldText": _OLD, "newText": _NEW}]}
    return [
        Turn(
            "I look at where durations are split.",
            calls=[Call("read", {"path": "tally/durations.py"})],
            usage=used,
        ),
        Turn(
            "`split_minutes` takes the hours off **before** it rounds, so 59:45 rounds to 60 minutes and nothing is "
            "carried. I round first.",
            calls=[Call("edit", edit)],
            usage=used,
        ),
        Turn(
            "Now its tests.",
            calls=[Call("bash", {"command": "python -m pytest -q tests/test_durations.py"})],
            usage=used,
        ),
        Turn("Repaired: the carry is right, and the tests of durations pass.", usage=used),
    ]


@contextmanager
def _project() -> Generator[Path]:
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        hidden = shutil.ignore_patterns("__pycache__", ".pytest_cache", ".ruff_cache")
        shutil.copytree(ROOT / "examples" / "broken-project", home / "tally", ignore=hidden)
        yield home


def capture_chat(columns: int = 92, rows: int = 38) -> str:
    """Returns the picture of a talk that has come to a question."""
    screen, options = Coloured(columns, rows), ("-w", "tally", "-s", "invoice")
    with (
        _project() as home,
        shell(home, _turns()) as sh,
        chatting(sh, *options, columns=columns, rows=rows) as person,
    ):
        person.says(_JOB)
        person.sees(r"pytest(.|\n)*always(.|\n)*waits for you(.|\n)*tokens, <1 %")
        screen.feed(person.raw)  # what was drawn so far, once more and in colours
    return _drawn(screen, "holdfast chat", columns)


def capture_question(columns: int = 92, rows: int = 38) -> str:
    """Returns the picture of questions that a run asks, seen from another terminal."""
    screen, turns = Coloured(columns, rows), [Turn("I ask first.", calls=[Call("question", _QUESTIONS)], usage=_USED)]
    run = ("run", "Set the shop up", "-s", "shop", "--patience", "10m", "-o", "json")
    with tempfile.TemporaryDirectory() as name, shell(Path(name), turns) as sh, asking(sh, run=run) as process:
        token = asked(sh)[0]["id"][:8]
        with on_terminal(sh, "approve", "show", token, COLUMNS=str(columns)) as (terminal, _):
            screen.feed(terminal.rest())
        process.kill()
    return _drawn(screen, f"holdfast approve show {token}", columns)


def capture_review(columns: int = 92, rows: int = 38) -> str:
    """Returns the picture of an answer that a person is asked about."""
    screen, options = Coloured(columns, rows), ("--review", "2", "--patience", "10m")
    with (
        tempfile.TemporaryDirectory() as name,
        shell(Path(name), [Turn(_ANSWER, usage=_USED)]) as sh,
        on_terminal(sh, "run", "What changed?", *options, COLUMNS=str(columns), LINES=str(rows)) as (terminal, process),
    ):
        screen.feed(terminal.until("no, the run fails"))
        process.kill()
    return _drawn(screen, "holdfast run --review 2 --patience 10m", columns)


def _drawn(screen: Coloured, title: str, columns: int) -> str:
    lines = list(screen.lines)
    while lines and not _plain(lines[-1]).strip():
        lines.pop()
    return draw(segments_of(lines), title, columns)


def _plain(line: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", line)


async def capture_watch(columns: int = 120, rows: int = 34) -> str:
    """Returns the picture of a session that is over, looked at event by event."""
    with _project() as home:
        async with scene(_turns(), url=f"sqlite:///{home}/s.db", seconds=30) as s:
            agent = coder("openai/gpt-5-mini", Limits(steps=20))
            run = await s.runtime.start(agent, _JOB, session="invoice", workspace=home / "tally")
            await run.result()
            async with watching(s.runtime, "invoice", columns=columns, rows=rows) as person:
                await person.sees("✓ completed")
                await person.selects("tool.finished", 1)
                lines = [list(strip) for strip in person.app.screen._compositor.render_strips()]
    return draw(lines, "holdfast runs watch", columns)


def main() -> None:
    """Writes the captures."""
    CAPTURES.mkdir(exist_ok=True)
    pictures = {"chat": capture_chat(), "question": capture_question(), "review": capture_review()}
    for name, picture in (pictures | {"watch": asyncio.run(capture_watch())}).items():
        file = CAPTURES / f"{name}.svg"
        file.write_text(picture, "utf-8")
        print(f"{file.relative_to(ROOT)}  {len(picture.encode()):,} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
