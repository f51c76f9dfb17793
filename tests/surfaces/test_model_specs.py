"""What a person writes for a model: slips in it are told, and names that stand for models are shown."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.surfaces.chatting import CTRL_D, chatting
from tests.surfaces.commands import Shell, environment

from holdfast.testing import ScriptedModelServer, Turn

CONFIG = """\
model.alias.steady: openai/gpt-5-mini,anthropic/claude-haiku-4-5:high
model.tier.smart: steady,openai/gpt-5,house/large
servers: {house: {wire: chat, url: 'http://127.0.0.1:9', key_variables: [HOUSE_KEY]}}
"""
RING = "'one' → 'two' → 'three' → 'one'"


def settings_of(home: Path, text: str) -> Path:
    path = home / ".config" / "holdfast" / "config.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.requirement("newcomers:mistyped-level")
def test_a_mistyped_level_is_refused_with_a_proposal_by_every_command_and_nobody_is_asked(tmp_path: Path) -> None:
    with ScriptedModelServer.in_thread([]) as server:
        sh = Shell(tmp_path, server)
        for arguments in (
            ("run", "x", "-m", "openai/gpt-5:hihg"),
            ("models", "check", "openai/gpt-5:hihg"),
            ("models", "show", "openai/gpt-5:hihg"),
            ("config", "set", "model", "openai/gpt-5:hihg"),
            ("config", "set", "model.alias.smart", "a/b,openai/gpt-5:hihg"),
        ):
            done = sh.run(*arguments)
            assert (done.returncode, done.stdout) == (2, "")
            assert "'hihg' is no level of thinking, did you mean 'openai/gpt-5:high'?" in done.stderr
            assert "put a colon behind it: 'openai/gpt-5:hihg:'" in done.stderr
        assert server.requests == ()
    assert not (tmp_path / ".config").exists()


@pytest.mark.requirement("newcomers:mistyped-level")
def test_names_with_colons_reach_the_server_whole_and_a_last_colon_is_not_part_of_them(tmp_path: Path) -> None:
    with ScriptedModelServer.in_thread([Turn("Yes.")] * 4) as server:
        sh = Shell(tmp_path, server)
        names = ("llama3:8b", "anthropic.claude-haiku-4-5-20251001-v1:0", "phi3:medium:", "gpt-5-mini:low")
        for name in names:
            assert sh.run("run", "x", "-q", "-m", f"openai/{name}").stdout == "Yes.\n"
        asked = [(each.model, json.loads(each.body).get("reasoning_effort")) for each in server.requests]
    assert asked == [
        ("llama3:8b", None),
        ("anthropic.claude-haiku-4-5-20251001-v1:0", None),
        ("phi3:medium", None),
        ("gpt-5-mini", "low"),
    ]


@pytest.mark.requirement("newcomers:show-resolves")
def test_a_name_for_models_is_shown_with_who_is_meant_in_order_from_where_and_with_which_key(tmp_path: Path) -> None:
    path = settings_of(tmp_path, CONFIG)
    sh = Shell(tmp_path)
    done = sh.run("models", "show", "smart", OPENAI_API_KEY="sk-secret-4711")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "smart",
        "  tier      steady,openai/gpt-5,house/large",
        f"            {path}:2",
        "  alias     steady: openai/gpt-5-mini,anthropic/claude-haiku-4-5:high",
        f"            {path}:1",
        "  1         openai/gpt-5-mini  from smart → steady",
        "            $0.25 in, $2 out, $0.025 cached, per million tokens · 400,000 tokens",
        "            thinks as it likes: minimal, low, medium, high",
        "            key in OPENAI_API_KEY",
        "  2         anthropic/claude-haiku-4-5  from smart → steady",
        "            $1 in, $5 out, $0.10 cached, $1.25 into the cache, per million tokens · 200,000 tokens",
        "            thinks high",
        "            key ANTHROPIC_API_KEY is not set",
        "  3         openai/gpt-5",
        "            $1.25 in, $10 out, $0.125 cached, per million tokens · 400,000 tokens",
        "            thinks as it likes: minimal, low, medium, high",
        "            key in OPENAI_API_KEY",
        "  4         house/large",
        "            price unknown · window unknown",
        "            thinking unknown",
        "            key HOUSE_KEY is not set",
    ]


@pytest.mark.requirement("newcomers:show-resolves")
def test_chains_levels_and_settings_are_resolved_as_a_run_would_and_told_as_data(tmp_path: Path) -> None:
    settings_of(tmp_path, CONFIG)
    sh = Shell(tmp_path)
    sh.environment |= {"HOLDFAST_THINKING": "medium", "HOUSE_KEY": "sk-secret-4711"}
    text = " ".join(sh.run("models", "show", "steady:xhigh,groq/llama-3.3-70b-versatil").stdout.split())
    assert "thinks high, as it has no xhigh" in text
    assert "! nothing is known of groq/llama-3.3-70b-versatil: did you mean groq/llama-3.3-70b-versatile" in text
    assert "thinking unknown, asked for medium (your settings)" in text
    told = json.loads(sh.run("models", "show", "smart:low", "-o", "json").stdout)
    assert [(each["name"], each["kind"]) for each in told["names"]] == [("smart", "tier"), ("steady", "alias")]
    assert [(each["name"], each["level"], each["from"]) for each in told["models"]] == [
        ("openai/gpt-5-mini", "low", ["smart", "steady"]),
        ("anthropic/claude-haiku-4-5", "low", ["smart", "steady"]),
        ("openai/gpt-5", "low", ["smart"]),
        ("house/large", "low", ["smart"]),
    ]
    house = told["models"][-1]
    assert (house["known"], house["price"]) == (False, None)
    assert (house["key"]["there"], house["key"]["source"]) == (True, "HOUSE_KEY")
    assert "sk-secret" not in json.dumps(told)


@pytest.mark.requirement("newcomers:show-resolves")
def test_one_model_is_shown_with_its_level_and_its_key_also_by_a_bare_name(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    text = sh.run("models", "show", "openai/gpt-5:xhigh").stdout
    assert text.startswith("openai/gpt-5\n  asked     thinks high, as it has no xhigh\n  price     $1.25 in")
    assert "\n  key       OPENAI_API_KEY is not set\n" in text
    sh.environment["HOLDFAST_PROVIDER"] = "openai"
    told = json.loads(sh.run("models", "show", "gpt-5:low", "-o", "json", OPENAI_API_KEY="sk-secret").stdout)
    assert (told["name"], told["level"], told["key"]["source"]) == ("openai/gpt-5", "low", "OPENAI_API_KEY")
    described = sh.run("models", "show", "perplexity/sonar").stdout
    assert "cannot be asked from here: describe its server in your settings" in described
    for spec, said in (
        ("ollama/x,bedrock/y", r"none is needed here(.|\n)*looked for on this machine when it is asked"),
        ("azure/x,google/y", r"set AZURE_OPENAI_ENDPOINT(.|\n)*GOOGLE_API_KEY is not set"),
    ):
        assert re.search(said, sh.run("models", "show", spec).stdout)
    refused = sh.run("models", "show", "openai/gpt-5,opnai/x")
    assert (refused.returncode, "did you mean 'openai/x'" in refused.stderr) == (2, True)


@pytest.mark.requirement("newcomers:name-rings")
def test_names_that_lead_back_to_themselves_are_refused_as_soon_as_settings_are_read(tmp_path: Path) -> None:
    path = settings_of(
        tmp_path,
        "theme: dark\nmodel.alias.one: openai/x,two:high\nmodel.tier.two: three\nmodel.alias.three: one\n",
    )
    sh = Shell(tmp_path)
    for arguments in (("config", "show"), ("models", "list"), ("models", "check"), ("models", "show", "openai/gpt-5"),
                      ("run", "x", "-m", "openai/gpt-5")):  # fmt: skip
        done = sh.run(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        ring = re.search(r"config\.yaml:(\d): '(\w+)' stands for itself \(('.*')\)", done.stderr)
        assert ring is not None, done.stderr
        assert ring[3].count("→") == 3
        assert {"2": "one", "3": "two", "4": "three"}[ring[1]] == ring[2]
    before = path.read_text()
    refused = sh.run("config", "set", "model.alias.three", "two,a/b")
    assert (refused.returncode, path.read_text()) == (2, before)
    assert sh.run("config", "set", "model.tier.two", "openai/y").returncode == 0, "mending it is allowed"
    assert sh.run("config", "show", "model.tier.two").stdout == "openai/y\n"


@pytest.mark.requirement("newcomers:name-rings")
def test_a_ring_is_not_written_and_one_name_can_be_taken_out_of_it(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    alone = sh.run("config", "set", "model.alias.one", "a/b,one")
    assert (alone.returncode, "config set: 'one' stands for itself ('one' → 'one')" in alone.stderr) == (2, True)
    assert not (tmp_path / ".config").exists()
    for name, spec in (("one", "two"), ("two", "three")):
        assert sh.run("config", "set", f"model.alias.{name}", spec).returncode == 0
    closing = sh.run("config", "set", "model.alias.three", "one")
    assert (closing.returncode, RING in closing.stderr) == (2, True)
    path = tmp_path / ".config" / "holdfast" / "config.yaml"
    path.write_text(path.read_text() + "model.alias.three: one\n")
    assert sh.run("config", "show").returncode == 2
    assert sh.run("config", "unset", "model.alias.three").returncode == 0
    assert sh.run("config", "show").returncode == 0


@pytest.mark.requirement("newcomers:near-names")
def test_a_run_and_a_talk_propose_the_same_names_for_the_same_slips(tmp_path: Path) -> None:
    with ScriptedModelServer.in_thread([Turn("Yes.")] * 3) as server:
        sh = Shell(tmp_path, server)
        for slip, said in (
            ("opnai/gpt-5", "did you mean 'openai/gpt-5'?"),
            ("gpt-5-nano", "by the name 'gpt-5-nano': did you mean 'openai/gpt-5-nano'?"),
        ):
            for arguments in (("run", "x", "-m", slip), ("models", "check", slip)):
                done = sh.run(*arguments)
                assert (done.returncode, said in done.stderr) == (2, True)
        doubt = "nothing is known of openai/gpt5-mini: did you mean openai/gpt-5-mini"
        run = sh.run("run", "x", "-q", "-m", "openai/gpt5-mini")
        assert (run.returncode, run.stdout) == (0, "Yes.\n"), "it may be newer than the catalogue"
        assert run.stderr.startswith(f"note {doubt}")
        assert doubt in " ".join(sh.run("models", "check", "openai/gpt5-mini").stderr.split())
        assert sh.run("run", "x", "-q", "-m", "openai/gpt-5-mini").stderr == ""
        with chatting(sh, "-m", "openai/gpt5-mini", columns=140) as person:
            person.sees(f"! {doubt}")
            person.types(CTRL_D)
            assert person.is_out() == 0


@pytest.mark.requirement("newcomers:thinking-unknown")
def test_what_a_model_makes_of_a_level_is_called_unknown_where_nobody_described_it(tmp_path: Path) -> None:
    settings_of(tmp_path, CONFIG)
    with ScriptedModelServer.in_thread([]) as server:
        sh = Shell(tmp_path, server)
        sh.environment |= environment(tmp_path, HOUSE_KEY="k")
        with chatting(sh, "-m", "openai/gpt-5-mini,house/large", columns=140, rows=50) as person:
            person.says("/thinking")
            shown = person.sees("default +as the model likes")
            assert re.search(r"  low +house/large: thinking unknown, asked for low\n", shown)
            assert re.search(
                r"  xhigh +openai/gpt-5-mini: thinks high, as it has no xhigh; house/large: thinking", shown
            )
            person.says("/thinking xhigh")
            person.sees("house/large: thinking unknown, asked for high")
            person.says("/model house/large:low")
            person.sees(r"house/large +price unknown · window unknown · thinking unknown, asked for low")
            person.says("/thinking high")
            person.sees(r"house/large: thinking unknown, asked for low \(its name says low\)")
            assert person.leaves() == 0
