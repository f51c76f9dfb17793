"""`holdfast embed rank` as a program of its own."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.embedding_server import Vectors, vector_server
from tests.loopback import answer
from tests.surfaces.commands import BOUND, Shell
from tests.surfaces.test_completion import in_bash

LINES = "How to restart the service\nThe weather is fine\n\n  \nRestarting services after a crash\n"


@contextmanager
def served(*replies: bytes) -> Generator[Vectors]:
    """Runs a server of vectors beside the test; with replies, it gives those and nothing else."""
    ready, over = threading.Event(), asyncio.Event()
    held: list[tuple[Vectors, asyncio.AbstractEventLoop]] = []

    async def run() -> None:
        async with vector_server(
            (lambda number, *_: replies[min(number, len(replies) - 1)]) if replies else None
        ) as it:
            held.append((it, asyncio.get_running_loop()))
            ready.set()
            await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert ready.wait(BOUND)
    vectors, loop = held[0]
    try:
        yield vectors
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(BOUND)


@pytest.mark.requirement("embedding:rank-command")
def test_lines_of_a_pipe_are_ranked_offline_by_default(tmp_path: Path) -> None:
    done = Shell(tmp_path).run("embed", "rank", "restart service", given=LINES)
    assert done.returncode == 0
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["score", "line", "text"]
    assert [row.split(maxsplit=2)[1:] for row in rows] == [
        ["1", "How to restart the service"],
        ["5", "Restarting services after a crash"],
        ["2", "The weather is fine"],
    ]
    assert done.stderr.strip() == "3 of 3 lines · hashing/1024 · free"
    assert list(tmp_path.iterdir()) == [], "ranking writes nothing"


@pytest.mark.requirement("embedding:rank-command")
def test_lines_of_several_files_are_shown_with_their_places_and_only_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(LINES)
    (tmp_path / "b.txt").write_text("restart service\r\nsomething else\r\n")
    sh = Shell(tmp_path)
    done = sh.run("embed", "rank", "restart service", "a.txt", "b.txt", "-", "-n", "2", given="a service to restart\n")
    rows = [row.split(maxsplit=2) for row in done.stdout.splitlines()[1:]]
    assert [row[1] for row in rows] == ["b.txt:1", "-:1"]
    assert rows[0][2] == "restart service"
    assert "2 of 6 lines" in done.stderr


@pytest.mark.requirement("embedding:rank-command")
def test_whole_files_are_ranked_with_their_first_line(tmp_path: Path) -> None:
    (tmp_path / "fruit.md").write_text("\n# Fruit\napples and pears\n")
    (tmp_path / "cars.md").write_text("# Cars\nwheels and brakes\n")
    (tmp_path / "blank.md").write_text("\n\n")
    (tmp_path / "image.bin").write_bytes(b"\x89PNG\0\0")
    sh = Shell(tmp_path)
    files = ("fruit.md", "cars.md", "blank.md", "image.bin")
    done = sh.run("embed", "rank", "--files", "wheels", *files)
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["score", "where", "text"]
    assert [row.split(maxsplit=2)[1:] for row in rows] == [["cars.md", "# Cars"], ["fruit.md", "# Fruit"]]
    assert "! image.bin holds no text and was left out" in done.stderr
    assert "2 of 2 files" in done.stderr


@pytest.mark.requirement("embedding:rank-command")
def test_json_says_who_ranked_what_it_cost_and_where_each_text_stands(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    done = sh.run("embed", "rank", "restart", "-o", "json", "-n", "1", "-m", "hashing/256", given=LINES)
    said = json.loads(done.stdout)
    (first,) = said.pop("ranked")
    assert said == {"query": "restart", "model": "hashing/256", "texts": 3, "tokens": 0, "cost": 0}
    assert 0 < first.pop("score") <= 1
    assert first == {"file": "-", "line": 1, "text": "How to restart the service"}
    empty = sh.run("embed", "rank", "restart", "-o", "json", given="\n")
    assert (empty.returncode, json.loads(empty.stdout)["ranked"]) == (0, [])
    silent = sh.run("embed", "rank", "restart", given="\n")
    assert (silent.returncode, silent.stdout, silent.stderr) == (0, "", "There is no text in what was given\n")


@pytest.mark.requirement("embedding:rank-command")
def test_a_provider_is_asked_for_a_query_and_for_documents_and_its_bill_is_shown(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    with served() as server:
        done = sh.run("embed", "rank", "The weather is fine", "-m", "cohere/embed-v4.0", given=LINES, **server.env)
        assert done.returncode == 0, done.stderr
        assert [asked["input_type"] for asked in server.asked] == ["search_query", "search_document"]
        unknown = sh.run("embed", "rank", "x", "-m", "openai/own", given="y", **server.env)
    assert done.stdout.splitlines()[1].split(maxsplit=2) == ["1.00", "2", "The weather is fine"]
    assert "3 of 3 lines · cohere/embed-v4.0 · 18 tokens · $0.0000" in done.stderr
    assert "openai/own · 2 tokens · price unknown" in unknown.stderr


@pytest.mark.requirement("embedding:rank-mistakes")
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("",), 2, "the query is empty"),
        (("  ",), 2, "the query is empty"),
        ((), 2, "Missing argument 'QUERY'"),
        (("x", "missing.txt"), 2, "'missing.txt' does not exist"),
        (("x", "."), 2, "is a directory"),
        (("x", "-n", "0"), 2, "give a whole number from 1"),
        (("x", "-m", "nobody/m"), 2, "known: 'hashing'"),
        (("x", "-m", "hashing/x"), 2, "'hashing/256'"),
        (("x", "-m", "local/nowhere"), 2, "name the folder of a model"),
        (("x", "-m", "openai/m"), 1, "set OPENAI_API_KEY"),
        (("x", "-m", "ollama/m"), 2, "OLLAMA_HOST"),
    ],
)
def test_what_is_wrong_is_one_line_that_says_what_to_do(
    tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = Shell(tmp_path).run("embed", "rank", *arguments, given="text", OLLAMA_HOST="h:x")
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.requirement("embedding:rank-mistakes")
def test_a_refusal_of_the_provider_is_an_error_of_exit_code_one_without_its_key(tmp_path: Path) -> None:
    with served(answer(b'{"error": {"message": "bad key sk-openai \\u001b[31m"}}', "401 Unauthorized")) as server:
        done = Shell(tmp_path).run("embed", "rank", "x", "-m", "openai/m", given="y", **server.env)
    assert done.returncode == 1
    assert "check the key in OPENAI_API_KEY" in done.stderr
    assert "sk-openai" not in done.stderr
    assert "\x1b[31m" not in done.stderr


@pytest.mark.requirement("embedding:rank-mistakes")
def test_texts_and_names_cannot_act_on_the_terminal_and_no_bytes_are_too_strange(tmp_path: Path) -> None:
    name = os.fsdecode(b"odd\xff\x1b[2J.txt")
    (tmp_path / name).write_bytes(b"\xef\xbb\xbfred \x1b[31m \xff line\nother\n")
    done = Shell(tmp_path).run("embed", "rank", "red line", name, "-")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert "red" in done.stdout


@pytest.mark.requirement("embedding:rank-mistakes")
def test_without_files_on_a_terminal_it_says_how_to_give_it_text(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "holdfast", "embed", "rank", "x"],
            cwd=tmp_path,
            env=Shell(tmp_path).environment,
            stdin=slave,
            capture_output=True,
            text=True,
            timeout=BOUND,
            check=False,
        )
    finally:
        os.close(master)
        os.close(slave)
    assert done.returncode == 2
    assert "name files, or pipe text in" in done.stderr


@pytest.mark.requirement("embedding:rank-command")
def test_a_shell_completes_the_command_and_the_models(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    assert in_bash(sh, "emb") == ["embed"]
    assert in_bash(sh, "embed", "") == ["rank"]
    assert in_bash(sh, "embed", "rank", "x", "-m", "ha") == ["hashing", "hashing/256"]
    assert "cohere/embed-v4.0" in in_bash(sh, "embed", "rank", "x", "-m", "coh")


@pytest.mark.requirement("newcomers:embed-help")
@pytest.mark.parametrize("arguments", [["embed", "--help"], ["embed", "rank", "--help"]], ids=" ".join)
def test_the_help_loads_nothing_that_makes_vectors(tmp_path: Path, arguments: list[str]) -> None:
    loaded = _loaded(tmp_path, arguments)
    assert "holdfast.cli.embedding.command" in loaded
    heavy = ("holdfast.models", "holdfast.runtime", "holdfast.net", "holdfast.engine", "rich", "yaml", "aiohttp")
    assert [name for name in loaded if name.startswith(heavy)] == []


@pytest.mark.requirement("newcomers:embed-help")
def test_a_ranking_loads_the_one_embedder_it_uses(tmp_path: Path) -> None:
    (tmp_path / "parts.txt").write_text("bolts\n")
    loaded = _loaded(tmp_path, ["embed", "rank", "bolt", "parts.txt"])
    assert "holdfast.models.embedding.hashing" in loaded
    asked = ("holdfast.models.embedding.providers.", "holdfast.models.embedding.local", "aiohttp")
    assert [name for name in loaded if name.startswith(asked)] == []


def _loaded(home: Path, arguments: list[str]) -> list[str]:
    """Returns the modules that a command has loaded when it ends."""
    code = (
        "import sys\n"
        "from holdfast.cli.main import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit as left: assert not left.code\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    run = [sys.executable, "-c", code]
    done = subprocess.run(
        run, cwd=home, env=Shell(home).environment, capture_output=True, text=True, check=True, timeout=30
    )
    return done.stderr.splitlines()
