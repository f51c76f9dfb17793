"""The commands of a talk, and the images in it."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from tests.surfaces.chatting import ENTER, READY, Person, chatting
from tests.surfaces.commands import Shell, bash, shell

from holdfast.testing import Call, ScriptedModelServer, Turn

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def written(path: str, content: str) -> Turn:
    return Turn(text="I write.", calls=[Call("write", {"path": path, "content": content})])


def twice(person: Person) -> None:
    """Has two files written in two runs."""
    person.says("Write the first")
    person.sees(r"One is there\.(.*\n)+ ready")
    person.says("Write the second")
    person.sees(r"Two is there\.(.*\n)+ ready")


TWICE = [
    written("kept", "one\n"),
    Turn(text="One is there."),
    written("gone", "two\n"),
    Turn(text="Two is there."),
    Turn(text="I see."),
]


@pytest.mark.requirement("cli:chat-commands")
def test_commands_show_how_things_stand_and_an_unknown_one_gives_its_neighbour(tmp_path: Path) -> None:
    with shell(tmp_path, [Turn(text="Yes.")]) as sh, chatting(sh, "-s", "one", "--max-dollars", "2") as person:
        person.says("/help")
        help_page = person.sees(r"/quit +leave(.*\n)+  Ctrl-R")
        person.says("/tools")
        person.sees(r"  read +Read a text file(.*\n)+  bash +Run")
        person.says("Hello")
        person.sees(r"Yes\.(.*\n)+ ready")
        person.says("/cost")
        person.sees(r"session  \$0\.000065 in 1 run\n  in +100 tokens\n  out +20 tokens\n  context +120 of 400,000")
        person.sees(r"limit +\$2 for each run")
        person.says("/sessions")
        person.sees(r"  ● one +just now +completed +1 step +\$0\.000065 +Hello")
        person.says("/clear")
        person.sees_no_more("limit")
        person.says("/resum")
        person.sees(r"error there is no command /resum: did you mean /resume\?(.*\n)+▸ /resum\n")
        person.says("/quit")  # behind what came back, and so a word with a slash that is neither command nor path
        person.sees(r"error there is no command /resum/quit: did you mean /resume\?(.*\n)+▸ /resum/quit\n")
        person.types("\x15")
        person.says("/quit")
        assert person.is_out() == 0
    for name in ("model", "mode", "later", "image", "diff", "rewind", "fork", "new", "resume"):
        assert re.search(rf"  /{name} ", help_page)


@pytest.mark.requirement("cli:chat-commands")
def test_model_and_mode_hold_from_the_next_prompt_on(tmp_path: Path) -> None:
    with ScriptedModelServer.in_thread([bash("touch mark"), Turn(text="Denied?")]) as server:
        with chatting(Shell(tmp_path, server), "--yes") as person:
            person.says("/model gpt")
            person.sees("error ")
            person.types("\x15")
            person.says("/model openai/gpt-5-nano")
            person.sees(r" ready · gpt-5-nano · auto")
            person.says("/mode safe")
            person.sees(r"there is no mode 'safe'")
            person.types("\x15")
            person.says("/mode read-only")
            person.sees(r" ready · gpt-5-nano · read-only")
            person.says("Do it")
            person.sees(r"Denied\?(.*\n)+.*1 call was denied(.*\n)+ ready")
            assert person.leaves() == 0
        assert server.requests[-1].model == "gpt-5-nano"
    assert not (tmp_path / "mark").exists()


@pytest.mark.requirement("cli:chat-commands")
def test_a_talk_goes_to_a_new_session_and_back(tmp_path: Path) -> None:
    with (
        ScriptedModelServer.in_thread([Turn(text="I am one."), Turn(text="I am two.")]) as server,
        chatting(Shell(tmp_path, server), "-s", "first") as person,
    ):
        person.says("Hello")
        person.sees(r"I am one\.(.*\n)+ ready")
        person.says("/new second")
        person.sees("session second, a new one")
        person.says("Hello again")
        person.sees(r"▸ Hello again\n\nI am one\.(.*\n)+ ready")
        person.says("/resume fist")
        person.sees("there is no session 'fist': did you mean 'first'")
        person.types("\x15")
        person.says("/resume first")
        person.sees(r"↻ session first, 1 run so far")
        person.says("And?")
        person.sees(r"▸ And\?\n\nI am two\.(.*\n)+ ready")
        assert person.leaves() == 0
        assert "--session first" in person.screen.text


@pytest.mark.requirement("cli:chat-branches")
def test_rewind_takes_back_what_was_said_and_its_files_and_says_which(tmp_path: Path) -> None:
    with shell(tmp_path, TWICE) as sh, chatting(sh, "--yes", "-s", "one") as person:
        twice(person)
        person.says("/diff")
        person.sees(r"\+one(.*\n)+.*2 paths changed")
        person.says("/rewind")
        place = re.search(r"/rewind (\d+) +before +Write the second", person.sees(r"before +Write the second"))
        assert place is not None
        person.says(f"/rewind {place[1]}")
        person.sees(r"↶ back at event \d+: \d+ events taken out(.*\n)+.*gone  taken away(.*\n)+▸ Write the second\n")
        assert (tmp_path / "kept").exists()
        assert not (tmp_path / "gone").exists()
        person.types(ENTER)
        person.sees(r"Two is there\.(.*\n)+Two is there\.(.*\n)+ ready")
        assert (tmp_path / "gone").exists()
        person.says("/rewind 9999")
        person.sees("'9999' is no event of this session: name one from 0 to")


@pytest.mark.requirement("cli:chat-branches")
def test_a_fork_goes_on_beside_the_session_with_files_of_its_own(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    with shell(tmp_path, TWICE) as sh, chatting(sh, "--yes", "-s", "one", "-w", "work") as person:
        twice(person)
        person.says("/fork")
        place = re.search(r"⑂ session (\S+), a copy of one", person.sees(r"⑂ session \S+, a copy of one up to its end"))
        assert place is not None
        person.says("Look")
        person.sees(r"I see\.(.*\n)+ ready")
        assert sh.run("runs", "show", "one").stdout.count("run.started") == 2
        assert sh.run("runs", "show", place[1]).stdout.count("run.started") == 3
        assert person.leaves() == 0
        (work / "kept").unlink()
        with chatting(sh, "-s", place[1], columns=200, ready=r"its files are in \S+\n(.*\n)+ ready") as later:
            own = re.search(r"its files are in (\S+)", later.screen.text)
            assert own is not None
            assert Path(own[1]) != work
            assert (Path(own[1]) / "kept").read_text() == "one\n"


@pytest.mark.requirement("cli:chat-images")
def test_an_image_that_is_dropped_named_or_attached_reaches_the_model(tmp_path: Path) -> None:
    shot = tmp_path / "my shot.png"
    shot.write_bytes(PIXEL)
    (tmp_path / "logo.png").write_bytes(PIXEL)
    turns = [Turn(text="One."), Turn(text="Two."), Turn(text="Three."), Turn(text="Four.")]
    with ScriptedModelServer.in_thread(turns) as server, chatting(Shell(tmp_path, server)) as person:
        person.pastes(str(shot).replace(" ", "\\ ") + " ")
        person.types(f"what is this?{ENTER}")
        person.sees(r"\[my shot\.png\](.*\n)+One\.(.*\n)+ ready")
        person.says("and @logo.png?")
        person.sees(r"Two\.(.*\n)+ ready")
        person.says("/image logo.png")
        person.sees(r"\+ logo\.png, 70 bytes")
        person.says("this")
        person.sees(r"Three\.(.*\n)+ ready")
        assert "+ logo.png" not in "\n".join(person.screen.lines[-3:])
        person.says("make logo.png smaller")
        person.sees(r"Four\.(.*\n)+ ready")
        body = server.requests[-1].json()
        assert isinstance(body, dict)
        users = [message["content"] for message in body["messages"] if message["role"] == "user"]
        url = f"data:image/png;base64,{base64.b64encode(PIXEL).decode()}"
        for content in users[:3]:
            assert [part["image_url"]["url"] for part in content if part["type"] == "image_url"] == [url]
        assert users[3] == "make logo.png smaller"


@pytest.mark.requirement("cli:chat-images")
def test_what_is_no_image_or_too_large_is_refused_kindly_and_the_line_comes_back(tmp_path: Path) -> None:
    (tmp_path / "fake.png").write_text("no image")
    with (tmp_path / "huge.png").open("wb") as huge:
        huge.write(PIXEL)
        huge.truncate(30 * 1024 * 1024)
    with shell(tmp_path, []) as sh, chatting(sh) as person:
        for name, answer in (
            ("fake.png", "is no PNG, JPEG, GIF, WebP or PDF"),
            ("huge.png", r"has 31\.5 MB, and models take 3\.9 MB at most"),
        ):
            person.says(f"see @{name}")
            person.sees(rf"error (.*\n)*.*{answer}")
            person.sees(rf"▸ see @{name}\n")
            person.types("\x15")
        person.says("/image nowhere.png")
        person.sees(r"there is no file .*nowhere\.png")
        person.types("\x15")
        person.sees(rf"▸{READY}")
        assert person.leaves() == 0
