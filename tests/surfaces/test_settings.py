"""`holdfast config`, and that commands do what is set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.surfaces.commands import ALLOWED, Shell, bash, shell

from holdfast.testing import Turn


def project(home: Path, text: str) -> Path:
    path = home / ".holdfast" / "config.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def own(home: Path, text: str) -> Path:
    path = home / ".config" / "holdfast" / "config.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def held(sh: Shell, **more: str) -> dict[str, tuple[object, str]]:
    rows = json.loads(sh.run("config", "show", "-o", "json", **more).stdout)["settings"]
    return {row["key"]: (row["value"], row["source"]) for row in rows}


@pytest.mark.requirement("cli:config-show", "cli:config-precedence", "runtime:settings-order")
def test_each_value_names_its_source_and_the_nearer_source_holds(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    mine = own(tmp_path, "model: openai/mine\nmax_steps: 20\nmax_dollars: 2\n")
    project(tmp_path, "theme: light\nmax_dollars: 1\n")
    seen = held(sh, HOLDFAST_MODE="", HOLDFAST_MAX_DOLLARS="0.5")
    assert seen["model"] == ("openai/mine", "user")
    assert seen["theme"] == ("light", "project")
    assert seen["max_steps"] == (20, "user")
    assert seen["max_dollars"] == (0.5, "environment")
    assert seen["mode"] == ("accept-edits", "default")
    assert seen["store"] == (sh.store, "default")
    table = sh.run("config", "show").stdout
    assert f"user         {mine}:2" in table or f"user  {mine}:2" in table
    assert sh.run("config", "show", "model").stdout == "openai/mine\n"
    (tmp_path / "deep" / "er").mkdir(parents=True)
    below = Shell(tmp_path / "deep" / "er")
    below.environment["HOME"] = str(tmp_path)
    assert held(below)["theme"] == ("light", "project")


@pytest.mark.requirement("cli:config-project-stricter")
def test_a_project_can_only_be_stricter_and_what_is_passed_over_is_said(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    own(tmp_path, "mode: ask\nmax_dollars: 1\n")
    path = project(tmp_path, "mode: auto\nmax_dollars: 100\nstore: sqlite:////tmp/theirs.db\nmax_tokens: 5000\n")
    free = {"HOLDFAST_MODE": ""}
    shown = json.loads(sh.run("config", "show", "-o", "json", **free).stdout)
    values = {row["key"]: row["value"] for row in shown["settings"]}
    assert (values["mode"], values["max_dollars"], values["max_tokens"]) == ("ask", 1.0, 5000)
    assert values["store"] == sh.store
    assert [note.split()[0] for note in shown["notes"]] == [f"{path}:{line}:" for line in (1, 2, 3)]
    project(tmp_path, "mode: read-only\n")
    assert held(sh, **free)["mode"] == ("read-only", "project")
    done = sh.run("config", "set", "store", "memory:", "--project")
    assert (done.returncode, "does not choose where logs are kept" in done.stderr) == (2, True)


@pytest.mark.requirement("cli:config-project-stricter")
@pytest.mark.parametrize("theirs", ["openai/gpt-5-pro", "elsewhere/gpt-5-mini"])
def test_a_project_chooses_no_model_and_says_how_a_person_does(tmp_path: Path, theirs: str) -> None:
    path = project(tmp_path, f"model: {theirs}\n")
    with shell(tmp_path, [Turn(text="x")] * 3) as sh:
        done = sh.run("run", "go", "-s", "one")
        assert f"note {path}:1: model is passed over: a project does not choose" in done.stderr
        assert f"to have {theirs!r} here use a flag, HOLDFAST_MODEL or your own file" in done.stderr.replace("\n", " ")
        chosen = json.loads(sh.run("runs", "list", "-o", "json").stdout)[0]["model"]
        own(tmp_path, "model: openai/mine\n")
        assert held(sh)["model"] == ("openai/mine", "user")
        assert held(sh, HOLDFAST_MODEL=theirs)["model"] == (theirs, "environment")
        refused = sh.run("config", "set", "model", theirs, "--project")
        table = sh.run("config", "set", "--help").stdout
    assert chosen == "openai/gpt-5-mini"
    assert (refused.returncode, "set the model without --project" in refused.stderr) == (2, True)
    assert "Not in a project's file." in next(line for line in table.splitlines() if line.strip().startswith("model "))


@pytest.mark.requirement("cli:config-refuses")
@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("# mine\nmodl: x/y\n", 2, "there is no setting 'modl': did you mean 'model'?"),
        ("mode: atuo\n", 1, "mode cannot be 'atuo': did you mean 'auto'?"),
        ("max_steps: many\n", 1, "max_steps cannot be 'many': a whole number from 1 is wanted"),
        ("max_steps: [1]\n", 1, "max_steps takes one plain value"),
        ("model: openai/a\nmodel: openai/b\n", 2, "model is set a second time"),
        ("- model\n", 1, "lines such as 'model: openai/gpt-5-mini' are wanted"),
        ("model: 'x\n", 2, "it is no YAML"),
        ("plain: maybe\n", 1, "plain cannot be 'maybe': true or false is wanted"),
        ("[" * 3000, 1, ""),
    ],
)
def test_what_is_no_setting_is_refused_by_file_and_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    sh = Shell(tmp_path)
    path = own(tmp_path, text)
    for command in (("config", "show"), ("run", "x"), ("runs", "list")):
        done = sh.run(*command)
        assert done.returncode == 2
        assert done.stderr.startswith(f"error {path}:{line}: {words}") or not words
        assert done.stderr.count("\n") == 1
    done = sh.run("config", "show", HOLDFAST_MAX_STEPS="0")
    path.unlink()
    done = sh.run("config", "show", HOLDFAST_MAX_STEPS="0")
    assert done.stderr.startswith("error HOLDFAST_MAX_STEPS: max_steps cannot be '0'")


@pytest.mark.requirement("cli:config-set")
def test_setting_a_key_leaves_the_other_lines_their_order_and_the_comments(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    path = own(tmp_path, "# my settings\nmax_steps: 5   # enough\n\nmodel: openai/a\n")
    assert sh.run("config", "set", "max_steps", "7").returncode == 0
    assert sh.run("config", "set", "plain", "yes").returncode == 0
    assert path.read_text() == "# my settings\nmax_steps: 7   # enough\n\nmodel: openai/a\nplain: true\n"
    assert sh.run("config", "unset", "model").returncode == 0
    assert path.read_text() == "# my settings\nmax_steps: 7   # enough\n\nplain: true\n"
    assert "was not set" in sh.run("config", "unset", "model").stdout
    assert sh.run("config", "path").stdout == f"{path}\n"
    assert [each.name for each in path.parent.iterdir()] == ["config.yaml"]
    before = path.read_text()
    assert sh.run("config", "set", "max_steps", "none").returncode == 2
    assert path.read_text() == before
    path.write_text("{model: openai/a}\n")
    refused = sh.run("config", "set", "model", "openai/b")
    assert (refused.returncode, "change it with an editor" in refused.stderr) == (2, True)
    assert path.read_text() == "{model: openai/a}\n"


@pytest.mark.requirement("cli:config-set")
def test_a_project_file_is_made_where_there_is_none_and_found_from_below(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    done = sh.run("config", "set", "mode", "read-only", "--project")
    assert done.returncode == 0
    assert (tmp_path / ".holdfast" / "config.yaml").read_text() == "mode: read-only\n"


@pytest.mark.requirement("cli:config-takes-effect")
def test_a_run_takes_model_limits_store_and_mode_from_the_settings(tmp_path: Path) -> None:
    own(tmp_path, f"store: sqlite:///{tmp_path}/mine.db\nmodel: openai/mine\nmax_steps: 1\nmode: read-only\n")
    with shell(tmp_path, [bash("touch made"), Turn(text="x")]) as sh:
        done = sh.run("run", "go", "-s", "one", HOLDFAST_MODE="")
        rows = json.loads(sh.run("runs", "list", "-o", "json").stdout)
    assert (done.returncode, "limited (steps)" in done.stdout) == (3, True)
    assert (rows[0]["session"], rows[0]["model"]) == ("one", "openai/mine")
    assert (tmp_path / "mine.db").exists()
    assert not (tmp_path / "made").exists()
    assert "--store" not in done.stdout


@pytest.mark.requirement("cli:config-takes-effect", "runtime:settings-order")
def test_a_flag_goes_before_everything(tmp_path: Path) -> None:
    own(tmp_path, "max_steps: 1\nmodel: openai/mine\n")
    with shell(tmp_path, [bash("true"), Turn(text="x")]) as sh:
        done = sh.run("run", "go", "--max-steps", "9", "-m", "openai/flag", **ALLOWED)
        rows = json.loads(sh.run("runs", "list", "-o", "json").stdout)
    assert (done.returncode, rows[0]["model"]) == (0, "openai/flag")


@pytest.mark.requirement("routing:settings")
def test_names_for_models_are_set_shown_and_taken_and_a_project_sets_none(tmp_path: Path) -> None:
    sh = Shell(tmp_path)
    assert sh.run("config", "set", "model.tier.smart", "openai/first, anthropic/second").returncode == 0
    assert sh.run("config", "set", "model.alias.mine", "smart").returncode == 0
    assert sh.run("config", "set", "provider", "openai").returncode == 0
    assert sh.run("config", "set", "model", "mine:high").returncode == 0
    seen = held(sh)
    assert seen["model.tier.smart"] == ("openai/first, anthropic/second", "user")
    assert seen["model"] == ("mine:high", "user")
    assert sh.run("config", "show", "model.alias.mine").stdout == "smart\n"
    assert "model.alias.none is not set" in sh.run("config", "show", "model.alias.none").stderr
    assert "model.tier.a/b" in sh.run("config", "set", "model.tier.a/b", "openai/x").stderr
    assert "cannot be 'openai/'" in sh.run("config", "set", "model.tier.bad", "openai/").stderr
    refused = sh.run("config", "set", "model.tier.smart", "openai/theirs", "--project")
    assert "a project does not choose which models" in refused.stderr
    path = project(tmp_path, "model.tier.smart: openai/theirs\nmodel.alias.new: openai/theirs\nprovider: theirs\n")
    notes = json.loads(sh.run("config", "show", "-o", "json").stdout)["notes"]
    assert [note.partition(" is passed over")[0] for note in notes] == [
        f"{path}:1: model.tier.smart", f"{path}:2: model.alias.new", f"{path}:3: provider"
    ]  # fmt: skip
    assert held(sh)["model.tier.smart"][0] == "openai/first, anthropic/second"
    assert sh.run("config", "unset", "model.alias.mine").returncode == 0
    assert "model.alias.mine" not in held(sh)


@pytest.mark.requirement("routing:settings")
def test_a_command_takes_a_chain_and_a_name_for_one(tmp_path: Path) -> None:
    script = {"up": [Turn("I am up."), Turn("Still up.")]}
    with shell(tmp_path, script) as sh:
        own(tmp_path, "model.tier.smart: openai/down,openai/up\n")
        for model, session in (("openai/down,openai/up", "a"), ("smart", "b")):
            done = sh.run("run", "-m", model, "--session", session, "-o", "json", "hello")
            assert json.loads(done.stdout)["output"] == "I am up."
            assert sorted(json.loads(done.stdout)["models"]) == ["openai/down", "openai/up"]
        assert "'nope'" in sh.run("run", "-m", "nope", "hello").stderr
