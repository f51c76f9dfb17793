"""How full the model's window is, as a talk shows it: on the line below, and by `/context`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tests.surfaces.chatting import chatting
from tests.surfaces.commands import Shell, shell

from holdfast.testing import ScriptedModelServer, Turn
from holdfast.testing.faults import Hang

WORDS = "Please look at all of this again and tell me what you think of it, in your own words."
PART = r"  {} +([\d,]+), (<?\d+) %"


def tokens(screen: str, name: str) -> int:
    """Returns how many tokens a part of the request has, as it was shown last."""
    found = re.findall(PART.format(name), screen)
    return int(found[-1][0].replace(",", "")) if found else 0


@pytest.mark.requirement("counting:context-command")
def test_context_shows_what_the_next_request_holds_and_how_full_the_window_is(tmp_path: Path) -> None:
    with (
        ScriptedModelServer.in_thread([Turn(text="A long answer. " * 400)]) as server,
        chatting(Shell(tmp_path, server), columns=120) as person,
    ):
        person.says("/context")
        screen = person.sees(r"  next request +[\d,]+ tokens, estimated; /context --ask has the provider count")
        screen = person.sees(r"  window +400,000 tokens, <?\d+ % full, gpt-5-mini(.*\n)+  history .*\n(.*\n)* ready")
        assert tokens(screen, "tools") > tokens(screen, "instructions") > 0
        empty = tokens(screen, "history")
        person.says("Hello")
        person.sees(r"ready · .*120 tokens")
        person.says("/clear")
        person.says("/context")
        screen = person.sees(r"  history +\d,\d\d\d(.*\n)* ready")
        assert tokens(screen, "history") > empty + 1000
        assert "attached" not in screen
        person.says("/context all")
        person.sees(r"error /context takes --ask")
        person.types("\x15")
        assert person.leaves() == 0
        assert len(server.requests) == 1, "estimates ask nobody"


@pytest.mark.requirement("counting:context-command")
def test_context_lets_the_provider_count_when_it_is_told_to(tmp_path: Path) -> None:
    with ScriptedModelServer.in_thread([Turn(text="Yes.")]) as server:
        claude: dict[str, Any] = {"ANTHROPIC_BASE_URL": server.origin, "ANTHROPIC_API_KEY": "k"}
        with chatting(Shell(tmp_path, server), "--model", "anthropic/claude-opus-4-5", columns=120, **claude) as person:
            person.says("/context --ask")
            person.sees(r"  next request +[\d,]+ tokens, as the provider counts them")
            person.says("/model openai/gpt-5-mini")
            person.sees(r"ready · gpt-5-mini")
            person.says("/context --ask")
            person.sees(r"  next request +[\d,]+ tokens, estimated: the provider gives no count")
            assert person.leaves() == 0


@pytest.mark.requirement("counting:gauge")
def test_the_gauge_counts_what_is_typed_and_what_waits(tmp_path: Path) -> None:
    turns = [Turn(text="Yes."), Turn(text="Never.", fault=Hang())]
    with shell(tmp_path, turns) as sh, chatting(sh, columns=120) as person:
        person.types("/")
        person.types("\x7f")
        person.says("Hello")
        person.sees(r"\n ready .* · 120 tokens")
        person.types(WORDS)
        screen = person.sees(r"\n ready .* · ~1[3-9]\d tokens")
        typed = int(re.findall(r"~(\d+) tokens", screen)[-1])
        assert 121 + len(WORDS) // 4 <= typed <= 120 + len(WORDS)
        person.types("\x15")
        person.sees(r"\n ready .* · 120 tokens")
        person.types("/model " + "x" * 60)
        person.sees(r"x{60}(.*\n)* ready .* · 120 tokens")
        person.types("\x15")
        person.says("Go")
        person.sees(r"\n . working .*")
        person.says(WORDS)
        person.sees(r"\n . working .* · ~1[3-9]\d tokens")
