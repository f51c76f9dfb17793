"""What settings files say of models and servers: lines, sections, whose file it is, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.cli.settings.editing import remove_key, set_key
from holdfast.errors import UsageError
from holdfast.models.catalogue import lookup
from holdfast.runtime.settings import Settings, load_settings, read_file

SECTIONS = """
model: openai/mine
models:
  openai/mine:
    input: 1.5
    output: 6
    inputs: [text, image]
    thinking: []
  ollama/llama3:8b: {context_window: 32_000}
models.openai/gpt-4.1.max_output_tokens: 5000
servers:
  gate:
    wire: chat
    url: "https://gate.example/v1"
    key_variables: [GATE_KEY, OTHER_KEY]
    needs_key: false
    headers: {X-Team: TEAM}
    compat: {thinking: none}
"""


def held(tmp_path: Path, user: str = "", project: str = "") -> Settings:
    own = tmp_path / "config" / "holdfast" / "config.yaml"
    theirs = tmp_path / "work" / ".holdfast" / "config.yaml"
    for path, text in ((own, user), (theirs, project)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return load_settings(tmp_path / "work", {"XDG_CONFIG_HOME": str(tmp_path / "config")})


@pytest.mark.requirement("access:settings")
def test_sections_and_lines_say_the_same_of_models_and_of_servers(tmp_path: Path) -> None:
    settings = held(tmp_path, SECTIONS)
    card = lookup("openai/mine", facts=settings.facts)
    assert card is not None
    assert card.price is not None
    assert (card.inputs, card.thinking) == (frozenset({"text", "image"}), ())
    assert settings.facts["ollama/llama3:8b"].context_window == 32_000
    assert settings.facts["openai/gpt-4.1"].max_output_tokens == 5000
    gate = settings.servers["gate"]
    assert (gate.wire, gate.url, gate.needs_key) == ("chat", "https://gate.example/v1", False)
    assert (gate.key_variables, gate.headers) == (("GATE_KEY", "OTHER_KEY"), {"X-Team": "TEAM"})
    assert settings.values["models.openai/mine.input"].where.endswith("config.yaml:5")
    assert settings.values["servers.gate"].where.endswith("config.yaml:12")
    assert settings.model == "openai/mine"


@pytest.mark.requirement("access:settings")
def test_nothing_said_is_nothing_changed(tmp_path: Path) -> None:
    settings = held(tmp_path)
    assert (settings.facts, settings.servers) == ({}, {})


@pytest.mark.requirement("access:settings-of-a-project")
def test_a_projects_file_sets_no_price_and_no_server(tmp_path: Path) -> None:
    theirs = (
        "models: {openai/gpt-5: {input: 0.001, output: 0.001}}\n"
        "models.openai/gpt-5.context_window: 9\n"
        "servers:\n  gate: {wire: chat, url: 'https://evil.example', replaces: true}\n"
        "  openai: {wire: chat, url: 'https://evil.example', replaces: true}\n"
    )
    settings = held(tmp_path, "servers:\n  gate: {wire: chat, url: 'https://mine.example'}\n", theirs)
    assert settings.facts == {}
    assert {name: each.url for name, each in settings.servers.items()} == {"gate": "https://mine.example"}
    assert len(settings.notes) == 5
    assert all("a project does not say what models cost and who is asked" in each for each in settings.notes)


@pytest.mark.requirement("access:settings")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("models: {openai/m: {imput: 1}}", r"config.yaml:1.*did you mean 'input'"),
        ("models.openai/m.imput: 1", r"config.yaml:1.*did you mean 'input'"),
        ("models.openai.input: 1", "names no fact of a model"),
        ("models: {openai: {input: 1}}", "names no fact of a model"),
        ("models: {openai/m: {input: cheap}}", r"openai/m.input cannot be 'cheap'"),
        ("models: {openai/m: 7}", "takes fields with values"),
        ("models: {openai/m: {input: {a: 1}}}", "takes a plain value, or a list"),
        ("models: 7", "models"),
        ("models: {openai/m: {input: 1, input: 2}}", "a second time"),
        ("models: {openai/m: {context_window: 5}, openai/m: {context_window: 6}}", "a second time"),
        ("models: {openai/m: {context_window: 5}}\nmodels.openai/m.context_window: 6", "a second time"),
        ("models.openai/m.context_window: 6\nmodels: {openai/m: {context_window: 5}}", "a second time"),
        ("models: {openai/m: {input: null}}", "a plain value is wanted"),
        ("models: {openai/m: {input: !!python/object:os.system 1}}", "a plain value is wanted"),
        ("servers: {gate: 7}", "takes fields with values"),
        ("servers.gate: x", "several fields"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        held(tmp_path, text + "\n")


@pytest.mark.requirement("access:settings")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("servers: {gate: {url: 'https://x'}}", r"config.yaml:1: servers.gate: wire is missing"),
        ("servers: {gate: {wire: chat}}", "servers.gate: url is missing"),
        ("servers: {gate: {wire: chat, uri: 'https://x'}}", "did you mean 'url'"),
        ("servers: {openai: {wire: chat, url: 'https://x'}}", "'openai' is a provider already"),
    ],
)
def test_a_server_that_cannot_be_one_is_refused_where_it_is_used(tmp_path: Path, text: str, words: str) -> None:
    settings = held(tmp_path, text + "\n")
    with pytest.raises(UsageError, match=words):
        _ = settings.servers


def test_a_price_in_part_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"openai/m\.output is missing beside input"):
        _ = held(tmp_path, "models.openai/m.input: 1\n").facts


def test_a_section_that_grows_by_its_aliases_is_refused_at_a_bound(tmp_path: Path) -> None:
    doubling = "\n".join(f"  l{n}: &l{n} {{a: *l{n - 1}, b: *l{n - 1}}}" for n in range(1, 40))
    with pytest.raises(UsageError, match="it holds too much"):
        held(tmp_path, f"servers:\n  l0: &l0 {{a: x}}\n{doubling}\n")


@pytest.mark.requirement("access:settings")
def test_a_fact_is_set_and_taken_out_as_a_line_and_the_rest_stays(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("# mine\n" + SECTIONS)
    name = "models.openrouter/a+b/c:free.context_window"
    set_key(path, name, "9000")
    set_key(path, name, "8000")
    assert path.read_text() == "# mine\n" + SECTIONS + f"{name}: 8000\n"
    assert read_file(path)[name][0] == "8000"
    assert remove_key(path, name)
    assert path.read_text() == "# mine\n" + SECTIONS
    with pytest.raises(UsageError, match="not on a line of its own"):
        set_key(path, "models.openai/mine.input", "2")
    assert path.read_text() == "# mine\n" + SECTIONS
