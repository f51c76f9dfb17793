"""Choosing models and levels of thinking by hand, and seeing who answers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.surfaces.chatting import TAB, chatting
from tests.surfaces.commands import Shell
from tests.surfaces.test_completion import in_bash

from holdfast.models.wire.messages.serving import render_stream
from holdfast.testing import ScriptedModelServer, Turn
from holdfast.testing.faults import Cut, Status
from holdfast.testing.scripts import Canned
from holdfast.types import AssistantMessage, Citation, ProviderStep, Text

CLEAR = "\x15"
CHAIN = "openai/gpt-5-mini,anthropic/claude-haiku-4-5"


def two_providers(home: Path, server: ScriptedModelServer) -> Shell:
    """Returns a shell with the keys of two providers, both of them one scripted server."""
    sh = Shell(home, server)
    sh.environment |= {"ANTHROPIC_BASE_URL": server.origin, "ANTHROPIC_API_KEY": "k"}
    return sh


@pytest.mark.requirement("choosing:chat-model")
def test_a_talk_shows_its_model_offers_those_with_a_key_and_goes_on_with_another(tmp_path: Path) -> None:
    turns = [Turn(text="I am one."), Turn(text="I am two.")]
    with ScriptedModelServer.in_thread(turns) as server:
        sh = two_providers(tmp_path, server)
        sh.run("config", "set", "model.alias.smart", CHAIN)
        with chatting(sh, columns=100, rows=60) as person:
            person.says("My name is Ada")
            person.sees(r"I am one\.(.*\n)+ ready · gpt-5-mini")
            person.says("/model")
            shown = person.sees(r"/model takes a number or a name")
            assert "openai/gpt-5-mini  $0.25 in, $2 out, $0.025 cached · 400,000 tokens" in shown
            assert re.search(r"smart +stands for openai/gpt-5-mini,anthropic", shown)
            assert re.search(r"●  \d  openai/gpt-5-mini +\$0\.25 +\$2 +400k +minimal to high", shown)
            number = re.search(r"(\d+)  anthropic/claude-haiku-4-5 ", shown)
            assert number is not None
            assert "groq/" not in shown
            assert "bedrock/" not in shown
            person.says(f"/model {number[1]}")
            person.sees(r"model anthropic/claude-haiku-4-5\n +anthropic/claude-haiku-4-5 +\$1 in.*200,000 tokens")
            person.sees(r" ready · claude-haiku-4-5")
            person.says("And who are you?")
            person.sees(r"I am two\.(.*\n)+ ready · claude-haiku-4-5")
            person.says("/model smart")
            person.sees(r"model smart\n +openai/gpt-5-mini .*\n +anthropic/claude-haiku-4-5 ")
            person.sees(r" ready · smart")
            assert person.leaves() == 0
        assert [each.model for each in server.requests] == ["gpt-5-mini", "claude-haiku-4-5"]
        assert b"My name is Ada" in server.requests[1].body
        assert b"I am one." in server.requests[1].body


@pytest.mark.requirement("choosing:refused")
def test_what_leads_nowhere_is_refused_with_the_nearest_names_and_the_model_stays(tmp_path: Path) -> None:
    with ScriptedModelServer.in_thread([]) as server:
        sh = Shell(tmp_path, server)
        sh.run("config", "set", "model.alias.smart", CHAIN)
        with chatting(sh, "--max-dollars", "1", columns=140) as person:
            for line, said in (
                ("/model gpt-5-nano", r"by the name 'gpt-5-nano': did you mean 'openai/gpt-5-nano'"),
                ("/model smrt", r"by the name 'smrt': did you mean 'smart'\?"),
                ("/model opnai/x", r"'opnai' in 'opnai/x'(.|\n)*did you mean 'openai/x'"),
                ("/model smart", r"'anthropic/claude-haiku-4-5' needs a key(.|\n)*ANTHROPIC_API_KEY"),
                ("/model openai/gpt5-mini", r"the price of 'openai/gpt5-mini' is unknown"),
                ("/model 7", r"there is no number 7 to pick"),
                ("/model opnai/", r"did you mean '/model openai/'"),
            ):
                person.says(line)
                person.sees(f"error (.|\\n)*{said}")
                person.types(CLEAR)
            person.sees(r" ready · gpt-5-mini")
    with ScriptedModelServer.in_thread([]) as server, chatting(Shell(tmp_path, server), columns=140) as person:
        person.says("/model openai/gpt5-mini")  # may be newer than the catalogue: it can be asked
        person.sees(r"price unknown · window unknown\n! nothing is known .*did you mean openai/gpt-5-mini")
        person.sees(r" ready · gpt5-mini")
    for arguments in (("run", "x", "-m", "smrt"), ("run", "x", "-m", "gpt-5-mini,smrt")):
        refused = Shell(tmp_path).run(*arguments)
        near = "smart" if "," not in arguments[-1] else "openai/gpt-5-mini"
        assert (refused.returncode, f"did you mean '{near}'?" in refused.stderr) == (2, True)


def efforts(server: ScriptedModelServer) -> list[str | None]:
    return [json.loads(each.body).get("reasoning_effort") for each in server.requests]


@pytest.mark.requirement("choosing:thinking")
def test_a_level_of_thinking_reaches_the_model_from_options_settings_and_commands(tmp_path: Path) -> None:
    with ScriptedModelServer.in_thread([Turn(text="Yes.")] * 9) as server:
        sh = Shell(tmp_path, server)
        assert sh.run("run", "x", "-q").returncode == 0
        assert sh.run("run", "x", "-q", "--thinking", "low").returncode == 0
        assert sh.run("config", "set", "thinking", "medium").returncode == 0
        assert sh.run("run", "x", "-q").returncode == 0
        assert sh.run("run", "x", "-q", "-m", "openai/gpt-5-mini:high").returncode == 0
        assert efforts(server) == [None, "low", "medium", "high"]
        with chatting(sh, columns=100) as person:
            person.sees("openai/gpt-5-mini · thinks medium")
            person.says("/thinking xhigh")
            person.sees(r"thinking xhigh\n +openai/gpt-5-mini: thinks high, as it has no xhigh")
            person.says("go")
            person.sees(r"Yes\.(.*\n)+ ready")
            person.says("/thinking")
            person.sees(r"  ● xhigh +openai/gpt-5-mini: thinks high(.|\n)*  default +as the model likes")
            person.says("/thinking hihg")
            person.sees("no level of thinking 'hihg': did you mean 'high'")
            person.types(CLEAR)
            person.says("/thinking default")
            person.says("again")
            person.sees(r"Yes\.(.*\n)+Yes\.(.*\n)+ ready")
            assert person.leaves() == 0
        assert efforts(server)[4:] == ["high", None]
    assert sh.run("run", "x", "--thinking", "deep").returncode == 2
    refused = sh.run("config", "set", "thinking", "deep")
    assert (refused.returncode, "one of off, minimal, low" in refused.stderr) == (2, True)


@pytest.mark.requirement("choosing:thinking")
def test_a_project_does_not_choose_how_much_models_think(tmp_path: Path) -> None:
    (tmp_path / ".holdfast").mkdir()
    (tmp_path / ".holdfast" / "config.yaml").write_text("thinking: xhigh\n")
    with ScriptedModelServer.in_thread([Turn(text="Yes.")]) as server:
        done = Shell(tmp_path, server).run("run", "x")
        assert "thinking is passed over: a project does not choose how much models think" in done.stderr
        assert efforts(server) == [None]
    assert Shell(tmp_path).run("config", "set", "thinking", "low", "--project").returncode == 2


@pytest.mark.requirement("choosing:completion")
def test_models_chains_aliases_and_levels_are_completed_where_they_are_named_and_set(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    sh.run("config", "set", "model.alias.smart", CHAIN)
    assert in_bash(sh, "run", "-m", "sma") == ["smart"]
    assert set(in_bash(sh, "run", "-m", "openai")) == {"openai/", "openai-responses/"}
    assert in_bash(sh, "chat", "--model", "openai/gpt-5-na") == ["openai/gpt-5-nano"]
    assert in_bash(sh, "run", "-m", "smart,openai/gpt-5-na") == ["smart,openai/gpt-5-nano"]
    assert in_bash(sh, "run", "--thinking", "x") == ["xhigh"]
    assert in_bash(sh, "config", "set", "thinking", "mi") == ["minimal"]
    assert in_bash(sh, "config", "set", "model", "openai/gpt-5-na") == ["openai/gpt-5-nano"]
    assert in_bash(sh, "config", "set", "model.tier.fast", "openai/gpt-5-na") == ["openai/gpt-5-nano"]
    with ScriptedModelServer.in_thread([]) as server:
        sh = two_providers(tmp_path, server)
        with chatting(sh) as person:
            for typed, offered in (
                ("/thi", r"/thinking +how much it thinks"),
                ("/thinking xh", r"\n +xhigh"),
                ("/model sma", r"\n +smart"),
                ("/model smart,openai/gpt-5-na", r"\n +openai/gpt-5-nano"),
            ):
                person.types(typed)
                person.sees(offered)
                person.types(CLEAR)
                person.sees(r"▸\n(\s*\n)* ready")
            person.types("/model smart,openai/gpt-5-na")
            person.sees(r"\n +openai/gpt-5-nano")
            person.types(TAB)
            person.sees(r"▸ /model smart,openai/gpt-5-nano\n")


@pytest.mark.requirement("choosing:who-answers")
@pytest.mark.requirement("choosing:who-served")
def test_after_a_failover_everything_names_the_model_that_took_over(tmp_path: Path) -> None:
    turns = {
        "gpt-5-mini": [Turn(text="Never said.", fault=Status(status=429))],
        "claude-haiku-4-5": [Turn(text="I stand in.")],
    }
    with ScriptedModelServer.in_thread(turns) as server:
        sh = two_providers(tmp_path, server)
        with chatting(sh, "-m", CHAIN, "-s", "one", columns=100) as person:
            person.sees(r" ready · gpt-5-mini \+1 · ")
            person.says("hello")
            person.sees(
                r"! (.|\n)* ·\s+anthropic/claude-haiku-4-5 goes on(.|\n)*I stand in\.(.*\n)+ ready · claude-haiku-4-5 "
            )
            person.says("/model")
            person.sees("the last answer is from anthropic/claude-haiku-4-5")
            person.says("/model openai/gpt-5-nano")
            person.sees(r" ready · gpt-5-nano · ")
            assert person.leaves() == 0
        sh.run("config", "set", "model.alias.smart", CHAIN)
        run = sh.run("run", "hello", "-s", "two", "-m", "smart")
        assert re.search(r"! (.|\n)* ·\s+anthropic/claude-haiku-4-5\s+goes\s+on\n\nI stand in\.", run.stdout)
        shown = sh.run("runs", "show", "one").stdout
        rows = json.loads(sh.run("runs", "list", "-o", "json").stdout)
        listed = sh.run("runs", "list").stdout
    failed = next(line for line in shown.splitlines() if "model.failed" in line)
    assert "gpt-5-mini → claude-haiku-4-5  takes over  rate_" in failed
    assert re.search(r"model\.finished +claude-haiku-4-5 .*I stand", shown)
    assert [row["models"] for row in rows] == [["anthropic/claude-haiku-4-5"]] * 2
    assert "claude-haiku-4-5" not in listed.splitlines()[0]  # the same one served everywhere: no column says so
    with ScriptedModelServer.in_thread([Turn(text="I am another.")]) as server:
        other = two_providers(tmp_path, server)
        other.run("run", "hello", "-s", "three")
        listed = other.run("runs", "list").stdout.splitlines()
    assert re.search(r"models +prompt$", listed[0])
    assert [bool(re.search(r" claude-haiku-4-5 +hello$", line)) for line in listed[1:]] == [False, True, True]


@pytest.mark.requirement("choosing:who-answers")
def test_words_before_and_after_a_seam_are_one_answer_on_the_screen(tmp_path: Path) -> None:
    turns = {
        "gpt-5-mini": [Turn(text="The first half. And then it broke", chunk=4, fault=Cut(after_events=6))],
        "claude-haiku-4-5": [Turn(text=" the second half.")] * 2,
    }
    with ScriptedModelServer.in_thread(turns) as server:
        sh = two_providers(tmp_path, server)
        with chatting(sh, "-m", CHAIN, "-s", "one", columns=100) as person:
            person.says("hello")
            person.sees(r"the second half\.")
            screen = person.sees(r"(.|\n)* ready · claude-haiku-4-5 · ")
            assert person.leaves() == 0
        asked = server.requests[-1]
        shown = sh.run("runs", "show", "one").stdout
    assert asked.model == "claude-haiku-4-5"
    assert screen.count("The first") == 1
    assert "the second half." in screen
    assert re.search(r"gpt-5-mini → claude-haiku-4-5  goes on there  connec", shown)


SEARCHED = AssistantMessage(
    (
        ProviderStep(
            "web_search",
            '{"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{"query":"price of bolts"}}',
            "price of bolts",
        ),
        Text("A bolt is 5 cents.", citations=(Citation("https://example.com/bolts", "Bolts \x1b[31m& [nuts]"),) * 2),
    ),
    "anthropic/claude-haiku-4-5",
)
ON_A_TERMINAL = r'A bolt is 5 cents\.\n\n  web_search  "price of bolts"\n  \[1\] Bolts .\[31m& \[nuts\] \(https://example\.com/bolts\)'


@pytest.mark.requirement("choosing:sources")
def test_steps_of_the_provider_and_sources_stand_under_the_answer_and_quiet_has_the_answer_alone(
    tmp_path: Path,
) -> None:
    body = b"".join(render_stream(SEARCHED)).decode()
    turn = Turn(raw=Canned(headers={"content-type": "text/event-stream"}, body=body))
    with ScriptedModelServer.in_thread([turn] * 5) as server:
        sh = two_providers(tmp_path, server)
        named = ("-m", "anthropic/claude-haiku-4-5")
        piped = sh.run("run", "What is a bolt?", "-s", "one", *named)
        quiet = sh.run("run", "What is a bolt?", "-q", *named)
        with chatting(sh, "-s", "one", *named, columns=100) as person:
            person.sees(ON_A_TERMINAL)  # how the session's last exchange ended
            person.says("And now?")
            person.sees(f"And now(.|\n)*{ON_A_TERMINAL}(.|\n)* ready")
            assert "\x1b[31m&" not in person.raw
            assert person.leaves() == 0
    assert (quiet.returncode, quiet.stdout) == (0, "A bolt is 5 cents.\n")
    under = 'web_search  "price of bolts"\n\n1. [Bolts \ufffd\\[31m& \\[nuts\\]](https://example.com/bolts)\n'
    assert f"A bolt is 5 cents.\n\n{under}" in piped.stdout
    assert "\x1b" not in piped.stdout


@pytest.mark.requirement("choosing:chat-model")
def test_servers_and_facts_of_the_settings_are_offered_and_asked_like_any_other(tmp_path: Path) -> None:
    with ScriptedModelServer.in_thread([Turn(text="I live here.")]) as server:
        sh = Shell(tmp_path)
        sh.environment["HOUSE_KEY"] = "k"
        config = tmp_path / ".config" / "holdfast" / "config.yaml"
        config.parent.mkdir(parents=True)
        house = f"{{wire: chat, url: '{server.base_url}', key_variables: [HOUSE_KEY]}}"
        config.write_text(f"servers: {{house: {house}}}\nmodel: house/large\nthinking: off\n")
        for field, value in (("input", "0.5"), ("output", "2"), ("context_window", "1000")):
            assert sh.run("config", "set", f"models.house/large.{field}", value).returncode == 0
        with chatting(sh, columns=100) as person:
            person.says("/model")
            person.sees(
                r"house/large  \$0\.50 in, \$2 out, \$0\.50 cached · 1,000 tokens · thinking unknown, asked for off"
            )
            person.sees(r"●  1  house/large +\$0\.50 +\$2 +1\.0k")
            assert "openai/" not in person.screen.text  # there is no key
            person.says("Where?")
            person.sees(r"I live here\.(.*\n)+ ready · large · .*120 tokens, 12 %")
            person.says("/model house/")
            person.sees(r"number or a name(.|\n)*number or a name")
            person.says("/model hous/x")
            person.sees("did you mean 'house/x'")
            person.types(CLEAR)
            assert person.leaves() == 0
        assert [each.model for each in server.requests] == ["large"]


@pytest.mark.requirement("choosing:chat-model")
def test_a_dumb_terminal_chooses_by_number_too_and_sees_whole_lines(tmp_path: Path) -> None:
    with (
        ScriptedModelServer.in_thread([Turn(text="I am here.")]) as server,
        chatting(Shell(tmp_path, server), ready=r"\n>$", rows=60, TERM="dumb") as person,
    ):
        person.types("/model\n")
        shown = person.sees("takes a number or a name")
        number = re.search(r" (\d)  openai/gpt-5\.4-nano ", shown)
        assert number is not None
        person.types("/thinking high\n")
        person.types(f"/model {number[1]}\n")
        person.sees(r"model openai/gpt-5\.4-nano\n  openai/gpt-5\.4-nano  \$0\.20 in, .* tokens ·\n +thinks high")
        person.types("Hello\n")
        person.sees(r"I am here\.")
        person.types("/quit\n")
        assert person.is_out() == 0
        assert "\x1b" not in person.raw
        assert server.requests[-1].model == "gpt-5.4-nano"
