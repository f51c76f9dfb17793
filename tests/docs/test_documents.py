"""Every block of the documents is true: programs run, commands exist, what they print is what is shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.docs.fences import Fence, fences
from tests.docs.playing import ROOT, Page, PageError
from tests.surfaces.commands import Shell

TOP = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md")
DOCUMENTS = [*TOP, *sorted(each.relative_to(ROOT).as_posix() for each in (ROOT / "docs").rglob("*.md"))]


@pytest.mark.requirement("repo:examples-in-documents-run")
@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_block_of_a_document_runs_and_prints_what_it_shows(name: str, page: Page) -> None:
    for fence in fences((ROOT / name).read_text("utf-8"), name):
        page.play(fence)


@pytest.mark.requirement("repo:examples-in-documents-run")
def test_every_command_named_in_running_text_exists(tmp_path: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    wrong: list[str] = []
    commands: dict[tuple[str, ...], str] = {}
    for name in DOCUMENTS:
        for code in re.findall(r"`([^`\n]+)`", (ROOT / name).read_text("utf-8")):
            program, *words = code.split()
            plain = [word for word in words if re.fullmatch("[a-z]+", word)]
            if program == "make" and not set(plain) <= set(targets):
                wrong.append(f"{name}: `{code}`")
            if program == "holdfast" and plain:
                commands[tuple(plain)] = f"{name}: `{code}`"
    for words, where in commands.items():
        if Shell(tmp_path).run(*words, "--help").returncode:
            wrong.append(where)
    assert not wrong, "commands that do not exist:\n  " + "\n  ".join(wrong)


BROKEN = (
    ("```ruby\nputs 1\n```", "nobody checks blocks"),
    ("```\nplain\n```", "nobody checks blocks"),
    ("```python\nraise SystemExit(3)\n```", "ended with 3"),
    ("```python\nprint('a')\n```\n```text output\nb\n```", "something else was printed"),
    ("```text output\nb\n```", "nothing before it"),
    ("```sh\nrm -rf x\n```", "nobody checks the command"),
    ("```sh\nmake nothing\n```", "there is no nothing"),
    ("```sh\nholdfast nothing\n```", "ended with 2"),
    ("```sh\nholdfast --version  # exit code 3\n```", "ended with 0"),
    ("```python a.py later\nraise SystemExit(3)\n```\n```sh\npython a.py\n```", "ended with 3"),
    ("```python a.py later\nprint()\n```\n```sh\npython a.py &\n```", "does not say that it serves"),
    ('```sh\neval "$(holdfast completion nothing)"\n```', "ended with"),
    ("```sh\n.venv/bin/pip install '.[nothing]'\n```", "there is no nothing"),
    ("```sh\n.venv/bin/python -m bench.run --nothing\n```", "there is no --nothing"),
    ("```sh\n.venv/bin/python -m pytest tests/nothing\n```", "there is no tests/nothing"),
    ("```yaml\nturns: [{txet: no}]\n```", "txet"),
    ("```yaml ~/.config/holdfast/config.yaml\nmodle: a/b\n```", "modle"),
)


@pytest.mark.parametrize(("text", "why"), BROKEN)
def test_a_block_that_is_not_true_is_found(text: str, why: str, page: Page) -> None:
    with pytest.raises(Exception, match=why) as caught:
        for fence in fences(text, "x.md"):
            page.play(fence)
    assert isinstance(caught.value, PageError) or "x.md" in str(caught.value)


def test_a_block_that_is_never_closed_is_found() -> None:
    with pytest.raises(ValueError, match="never closed"):
        list(fences("```python\nprint(1)\n", "x.md"))


def test_a_block_in_a_list_loses_its_indent_and_longer_fences_hold_shorter_ones(tmp_path: Path) -> None:
    text = "- so:\n  ```python a.py\n  if 1:\n      print(1)\n  ```\n````text\n```\n````\n"
    assert list(fences(text, "x.md")) == [
        Fence("x.md:2", "python", "a.py", "if 1:\n    print(1)\n"),
        Fence("x.md:6", "text", "", "```\n"),
    ]
