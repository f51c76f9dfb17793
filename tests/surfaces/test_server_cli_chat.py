"""`holdfast chat --server`: the same talk, with an agent that a server drives."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from tests.surfaces.chatting import ALT_Q, CTRL_C, READY, Person, chatting
from tests.surfaces.commands import Shell, bash, shell
from tests.surfaces.distant import Distant, distant

from holdfast.testing import Call, ScriptedModelServer, Turn
from holdfast.testing.faults import Hang

AWAY, BACK = r"! http://\S+ is away", r"● http://\S+ is back"


def body(person: Person) -> str:
    """Returns what is on the screen below the words that begin every talk, but for how long things took."""
    text = person.screen.text.partition("Ctrl-D leaves\n")[2]
    return re.sub(r" *\d+(\.\d+)? (ms|s)\b", " T", text)


def statuses(sh: Shell) -> list[str]:
    return [row["status"] for row in json.loads(sh.run("runs", "list", "-o", "json").stdout)]


def of_people(server: ScriptedModelServer) -> list[str]:
    """What people said in the last request."""
    asked = server.requests[-1].json()
    assert isinstance(asked, dict)
    return [message["content"] for message in asked["messages"] if message["role"] == "user"]


@pytest.mark.requirement("server_cli:same-chat")
def test_a_talk_with_a_server_looks_like_one_with_a_store_but_for_the_line_that_names_it(tmp_path: Path) -> None:
    write = Turn(text="I **write**.", calls=[Call("write", {"path": "a.txt", "content": "one\n"})], chunk=4)
    script = [
        write,
        bash("cat a.txt"),
        Turn(text="# Done\n\n- it says *one*\n- and no more", chunk=5),
        Turn(text="Bye."),
    ]
    screens: list[str] = []
    heads: list[str] = []
    with shell(tmp_path, script) as sh, distant(sh) as there:
        (tmp_path / "w").mkdir()
        for session, options in (("home", ("-w", "w")), ("away", ("--server", there.url))):
            with chatting(sh, "-s", session, "--yes", *options) as person:
                person.says("Write it")
                person.sees(r"and no more\n(.*\n)+.*✓  3 steps(.*\n)+ ready")
                person.says("/diff")
                person.sees(r"1 path changed(.*\n)+ ready")
                person.says("And now?")
                person.sees(r"Bye\.(.*\n)+.*✓  1 step(.*\n)+ ready")
                screens.append(body(person).replace("away", "home"))
                heads.append(person.screen.text.strip().partition("\n")[0])
                assert person.leaves() == 0
                option = f" --server {there.url}" if session == "away" else ""
                assert f"go on later: holdfast chat --session {session}{option}" in person.screen.text
    assert screens[0] == screens[1]
    assert heads[1] == f"holdfast chat · coder (openai/gpt-5-mini) · auto · {there.url}"[:80].rstrip()


@pytest.mark.requirement("server_cli:chat-speaks")
def test_what_is_said_while_it_works_at_a_server_joins_the_run_and_a_follow_up_its_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    gate = tmp_path / "gate"
    script = [bash(f"read -r _ < {gate}; echo through"), Turn(text="It is **through**."), Turn(text="And more.")]
    with shell(tmp_path, script) as sh, distant(sh) as there:
        with chatting(sh, "--yes", "--server", there.url) as person:
            person.says("Pass")
            person.sees(r"⋯ bash read -r _ < .*\n")
            person.says("Use tabs")
            person.sees(r"↳ queued: Use tabs\n")
            person.types("Then tidy")
            person.sees("Then tidy")
            person.types(ALT_Q)
            person.sees(r"↳ after this: Then tidy\n")
            gate.write_text("\n")
            person.sees(
                r"▸ Use tabs\n\nIt is through\.(.*\n)+▸ Then tidy\n\nAnd more\.(.*\n)+.*✓  3 steps(.*\n)+ ready"
            )
            assert person.leaves() == 0
        assert sh.server is not None
        assert of_people(sh.server) == ["Pass", "Use tabs", "Then tidy"]
        assert statuses(sh) == ["completed"]


@pytest.mark.requirement("server_cli:chat-approves")
def test_a_call_at_a_server_is_allowed_and_denied_with_a_reason_in_the_terminal(tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = [bash(f"echo one >> {log}"), bash(f"echo two >> {log}"), Turn(text="Finished.")]
    with shell(tmp_path, script) as sh, distant(sh) as there:
        with chatting(sh, "--ask", "--server", there.url) as person:
            person.says("go")
            person.sees(r"allow bash\?(.*\n)+.*echo one")
            person.sees("y once")
            person.types("\x1by")
            person.sees(r"echo two(.*\n)*.*y once")
            person.types("\x1bn")
            person.sees(r"why not\?\n")
            person.types("not on a Sunday\r")
            person.sees(r"⊘ denied: not on a Sunday")
            person.sees(r"Finished\.(.*\n)+.*✓  3 steps(.*\n)+ ready")
            assert person.leaves() == 0
        assert log.read_text() == "one\n"
        assert sh.server is not None
        assert "not on a Sunday" in json.dumps(sh.server.requests[-1].json())


@pytest.mark.requirement("server_cli:chat-aborts")
def test_ctrl_c_ends_the_run_at_the_server_and_not_the_talk(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    with shell(tmp_path, [bash(f"read -r _ < {tmp_path}/gate"), Turn(text="Again.")]) as sh, distant(sh) as there:
        with chatting(sh, "--yes", "--server", there.url) as person:
            person.says("Pass")
            person.sees(r"⋯ bash read -r _")
            person.types(CTRL_C)
            person.sees(r"■ aborting(.*\n)+.*aborted(.*\n)+ ready")
            person.says("once more")
            person.sees(r"Again\.(.*\n)+ ready")
            assert person.leaves() == 0
        assert sorted(statuses(sh)) in (["aborted", "completed"], ["completed", "aborted"])


@pytest.mark.requirement("server_cli:restart")
def test_a_server_that_is_killed_in_mid_answer_is_waited_for_and_no_word_is_doubled(tmp_path: Path) -> None:
    words = "The first part of it.\n\nThe second part of it.\n\nThe third part of it.\n\nThe end of it."
    half = Turn(text=words, chunk=8, fault=Hang(after_events=8, times=1))
    with shell(tmp_path, [half, Turn(text="Here again.")]) as sh, distant(sh) as there:
        with chatting(sh, "-s", "talk", "--server", there.url) as person:
            person.says("Tell me")
            person.sees(r"The second part")
            there.is_killed()
            person.sees(AWAY)
            person.sees("the server is away")
            there.begins()
            person.sees(BACK)
            person.sees(r"The end of it\.(.*\n)+.*✓  1 step(.*\n)+ ready")
            text = person.screen.text
            for part in ("The first part of it.", "The second part of it.", "The third part of it.", "The end of it."):
                assert text.count(part) == 1, text
            assert len(re.findall(AWAY, text)) == len(re.findall(BACK, text)) == 1
            person.says("And now?")
            person.sees(r"Here again\.(.*\n)+.*✓  1 step(.*\n)+ ready")
            assert person.leaves() == 0
        assert statuses(sh) == ["completed"] * 2


@pytest.mark.requirement("server_cli:restart")
def test_what_is_typed_while_the_server_is_away_comes_back_to_be_sent_again(tmp_path: Path) -> None:
    with shell(tmp_path, [Turn(text="One."), Turn(text="Two.")]) as sh, distant(sh) as there:
        with chatting(sh, "-s", "talk", "--server", there.url) as person:
            person.says("Who is there?")
            person.sees(r"One\.(.*\n)+ ready")
            there.is_killed()
            person.says("And now?")
            person.sees(r"error http://\S+ is away")
            there.begins()
            person.types("\r")
            person.sees(r"Two\.(.*\n)+.*✓  1 step(.*\n)+ ready")
            assert person.leaves() == 0
        assert statuses(sh) == ["completed"] * 2


@pytest.mark.requirement("server_cli:chat-goes-on")
def test_whoever_leaves_and_comes_back_finds_the_run_that_went_on_without_them(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    script = [bash(f"read -r _ < {tmp_path}/gate"), Turn(text="It went on.")]
    with shell(tmp_path, script) as sh, distant(sh) as there:
        with chatting(sh, "-s", "talk", "--yes", "--server", there.url) as person:
            person.says("Pass")
            person.sees(r"⋯ bash read -r _")
            assert person.leaves() == 0
            assert "left; the run goes on at the server" in person.screen.text
        with chatting(sh, "-s", "talk", "--server", there.url, ready="has an open run") as person:
            person.sees(r"⋯ bash read -r _")
            (tmp_path / "gate").write_text("\n")
            person.sees(r"It went on\.(.*\n)+.*✓  2 steps(.*\n)+ ready")
            assert person.leaves() == 0
        with chatting(sh, "-s", "talk", ready="It went on", HOLDFAST_SERVER=there.url) as person:
            person.sees(READY)
            assert "1 run so far" in person.screen.text
            assert person.leaves() == 0
            assert "holdfast chat --session talk\n" in person.screen.text + "\n"


def commands(there: Distant, sh: Shell) -> None:
    with chatting(sh, "-s", "talk", "--server", there.url, "--agent", "coder") as person:
        person.says("Hello")
        person.sees(r"Hi\.(.*\n)+ ready")
        person.says("/sessions")
        person.sees(r"● talk .*completed .*1 step")
        person.says("/model")
        person.sees(r"●  1  coder ")
        person.says("/model other")
        person.sees(r"error the server has no agent 'other'")
        person.types("\x15")
        person.says("/model 2")
        person.sees(r"agent helper, model gpt-5-mini")
        person.says("/tools")
        person.sees(r"it has no tools")
        person.says("/context")
        person.sees(r"error a server does not count")
        person.types("\x15")
        person.says("/rewind 0")
        person.sees(r"↶ back at event 0")
        person.types("\x15")
        person.says("/new other")
        person.says("/resume talk")
        person.sees(r"↻ session talk")
        assert person.leaves() == 0


@pytest.mark.requirement("server_cli:chat-commands")
def test_commands_of_a_talk_speak_of_what_is_at_the_server(tmp_path: Path) -> None:
    (tmp_path / "team.py").write_text(
        "from holdfast import Agent\nhelper = Agent('openai/gpt-5-mini', name='helper', instructions='Help.')\n"
    )
    with shell(tmp_path, [Turn(text="Hi.")]) as sh, distant(sh, "coder", "--agents", "team.py") as there:
        commands(there, sh)
