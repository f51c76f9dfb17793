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
from tests.surfaces.watching import watching

from holdfast.cli.run import coder
from holdfast.testing import Call, Turn
from holdfast.testing.scripts import Tokens
from holdfast.types import Limits

__all__ = ("CAPTURES", "capture_chat", "capture_watch", "main")

CAPTURES = ROOT / "docs" / "captures"
_JOB = "Why does the invoice say 7:60?"
_OLD = "    hours, rest = divmod(seconds, _HOUR)\n    return hours, (rest + _MINUTE // 2) // _MINUTE\n"
_NEW = "    return divmod((seconds + _MINUTE // 2) // _MINUTE, _HOUR // _MINUTE)\n"


def _turns() -> list[Turn]:
    used = Tokens(input_tokens=2400, output_tokens=160)
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
        person.sees(r"pytest(.|\n)*always")
        screen.feed(person.raw)  # what was drawn so far, once more and in colours
    lines = list(screen.lines)
    while lines and not _plain(lines[-1]).strip():
        lines.pop()
    return draw(segments_of(lines), "holdfast chat", columns)


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
    for name, picture in (("chat", capture_chat()), ("watch", asyncio.run(capture_watch()))):
        file = CAPTURES / f"{name}.svg"
        file.write_text(picture, "utf-8")
        print(f"{file.relative_to(ROOT)}  {len(picture.encode()):,} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
