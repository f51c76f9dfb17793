"""`holdfast models`: what is known of models, and from where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.surfaces.commands import Shell
from tests.surfaces.test_completion import in_bash

from holdfast.models.catalogue import about
from holdfast.models.providers.table import TABLE


def row(sh: Shell, provider: str, name: str, *more: str) -> list[str]:
    """Returns the cells of a model's row."""
    lines = sh.run("models", "list", provider, *more).stdout.splitlines()
    return next([cell for cell in line.split("  ") if cell.strip()] for line in lines if line.startswith(name + " "))


@pytest.mark.requirement("catalogue:models-list")
def test_a_provider_has_its_models_with_what_they_cost_hold_and_take(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    cells = [cell.strip() for cell in row(sh, "anthropic", "anthropic/claude-opus-4-5")]
    assert cells[1:] == ["$5", "$25", "$0.50", "200k", "64k", "off to high", "text, image, pdf"]
    assert row(sh, "openai", "openai/gpt-5.4")[1].strip() == "$2.50+"
    done = sh.run("models", "list", "openai")
    assert (done.returncode, done.stderr) == (0, "")
    known = about()
    assert done.stdout.splitlines()[-1] == f"prices and windows: {known.source} (MIT), {known.day}"
    assert "dollars per million tokens; + more for long inputs" in done.stdout


@pytest.mark.requirement("catalogue:models-list")
def test_unknown_is_shown_as_unknown_and_never_as_zero(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    cells = [cell.strip() for cell in row(sh, "perplexity", "perplexity/sonar-deep-research")]
    assert cells[1:] == ["?", "?", "?", "128k", "~16k", "?", "?"]
    told = json.loads(sh.run("models", "list", "perplexity", "-o", "json").stdout)
    card = next(each for each in told["models"] if each["name"] == "perplexity/sonar-deep-research")
    assert (card["price"], card["inputs"], card["thinking"], card["prefill"]) == (None, None, None, None)
    assert card["max_output_tokens_assumed"] is True
    assert (told["source"], told["day"]) == (about().source, about().day)


@pytest.mark.requirement("catalogue:models-list")
def test_old_models_are_shown_when_asked_for(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    few, all_ = sh.run("models", "list", "cerebras").stdout, sh.run("models", "list", "cerebras", "--all").stdout
    assert "cerebras/llama3.1-8b" not in few
    assert "old models not shown: --all" in few
    assert "cerebras/llama3.1-8b" in all_
    assert "not shown" not in all_


@pytest.mark.requirement("catalogue:models-list")
def test_without_a_provider_there_are_the_providers_and_with_all_their_models(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    text = sh.run("models", "list").stdout
    rows = [line.split() for line in text.splitlines()]
    assert [row for row in rows if row[:1] in (["ollama"], ["vllm"])] == [["ollama", "-"], ["vllm", "-"]]
    assert "those of openai, anthropic" in text
    assert next(row for row in rows if row[:1] == ["together"])[2:4] == ["described", "only:"]
    told = json.loads(sh.run("models", "list", "-o", "json").stdout)
    asked = {each["provider"]: each["asked"] for each in told["providers"]}
    assert {name for name, can in asked.items() if can} == {*TABLE}
    assert asked["together"] is False
    every = json.loads(sh.run("models", "list", "--all", "-o", "json").stdout)["models"]
    assert len(every) > 1000
    assert "no model of ollama is described" in sh.run("models", "list", "ollama").stdout


@pytest.mark.requirement("catalogue:models-show")
def test_a_model_is_shown_with_its_tiers_its_other_names_and_the_source_of_each_fact(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    text = sh.run("models", "show", "openai/gpt-5.4").stdout
    assert "$2.50 in, $15 out, $0.25 cached, per million tokens" in text
    assert "over 272,000 tokens of input: $5 in, $22.50 out, $0.50 cached" in text
    assert "openai/gpt-5.4-2026-03-05" in text
    assert f"prices and windows: {about().source} (MIT), {about().day}" in text
    assert "thinks: OpenAI's models pages" in text
    told = json.loads(sh.run("models", "show", "openai/gpt-5.4", "-o", "json").stdout)
    assert told["price"]["tiers"] == [
        {"above": 272_000, "input": 5.0, "output": 22.5, "cache_read": 0.5, "cache_write": 5.0}
    ]
    assert told["sources"]["thinking"]
    assert "in the dearest hours" in sh.run("models", "show", "deepseek/deepseek-chat").stdout
    assert "and $0.012 for each call" in sh.run("models", "show", "perplexity/sonar").stdout


@pytest.mark.requirement("catalogue:models-show")
def test_what_is_unknown_of_a_model_is_said(tmp_path: Path) -> None:
    text = Shell(tmp_path).run("models", "show", "perplexity/sonar-deep-research").stdout
    facts = {line.split()[0]: line.split(maxsplit=1)[1] for line in text.splitlines()[1:]}
    assert facts["price"].startswith("unknown; a limit in dollars cannot be kept")
    assert [facts[each] for each in ("reads", "thinks", "prefill")] == ["unknown"] * 3
    assert "assumed" in facts["answer"]


@pytest.mark.requirement("catalogue:models-show", "catalogue:models-list")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "openai/gpt-4q"), "did you mean 'openai/gpt-4' or 'openai/gpt-4o'"),
        (("show", "anthropc/claude"), "did you mean 'anthropic/…'?"),
        (("show", "gpt-5"), "did you mean 'openai/gpt-5'?"),
        (("show", "qqqqqq"), "holdfast models list shows what is known"),
        (("show", "openai/qqqqqq"), "holdfast models list shows what is described"),
        (("list", "anthropc"), "did you mean 'anthropic'?"),
        (("list", "../data"), "there are openai, openai-responses, anthropic"),
    ],
    ids=str,
)
def test_an_unknown_name_says_what_may_have_been_meant(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = Shell(tmp_path).run("models", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""


@pytest.mark.requirement("catalogue:models-list", "catalogue:models-show")
def test_the_shell_completes_commands_providers_and_models(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    assert in_bash(sh, "mod") == ["models"]
    assert set(in_bash(sh, "models", "")) == {"check", "list", "show"}
    assert in_bash(sh, "models", "list", "anth") == ["anthropic"]
    assert in_bash(sh, "models", "show", "deeps") == ["deepseek/"]
    assert in_bash(sh, "models", "show", "perpl") == ["perplexity/"]
    assert sh.run("config", "set", "model.alias.smart", "openai/gpt-5").returncode == 0
    assert in_bash(sh, "models", "show", "sma") == ["smart"]
    assert set(in_bash(sh, "models", "show", "xai/grok-4.3")) == {"xai/grok-4.3", "xai/grok-4.3-latest"}
