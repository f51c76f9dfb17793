"""`holdfast run --output-schema`: an answer that has to fit a schema from a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.surfaces.commands import shell

from holdfast.testing import Turn
from holdfast.testing.scripts import Call

SCHEMA = {
    "type": "object",
    "properties": {"files": {"type": "integer", "minimum": 0}, "summary": {"type": "string"}},
    "required": ["files", "summary"],
    "additionalProperties": False,
}
GOOD = {"files": 2, "summary": "all fine"}


def file_of(folder: Path, text: str) -> str:
    path = folder / "schema.json"
    path.write_text(text, "utf-8")
    return str(path)


@pytest.mark.requirement("output:schema-from-file")
def test_json_shows_the_answer_as_a_value_beside_its_text(tmp_path: Path) -> None:
    script = [
        Turn(calls=[Call("final_answer", {"files": -1, "summary": ""})]),
        Turn(calls=[Call("final_answer", GOOD)]),
    ]
    with shell(tmp_path, script) as sh:
        done = sh.run("run", "Count", "--output-schema", file_of(tmp_path, json.dumps(SCHEMA)), "-o", "json")
        again = json.loads(sh.run("runs", "list", "-o", "json").stdout)
    result = json.loads(done.stdout)
    assert (done.returncode, result["status"], result["value"], result["steps"]) == (0, "completed", GOOD, 2)
    assert json.loads(result["output"]) == GOOD
    assert len(again) == 1


@pytest.mark.requirement("output:schema-from-file")
@pytest.mark.parametrize("quiet", [True, False])
def test_as_text_the_answer_is_printed_as_json(tmp_path: Path, quiet: bool) -> None:
    with shell(tmp_path, [Turn(calls=[Call("final_answer", GOOD)])]) as sh:
        done = sh.run("run", "Count", "--output-schema", file_of(tmp_path, json.dumps(SCHEMA)), *["-q"] * quiet)
    assert done.returncode == 0
    assert json.dumps(GOOD, separators=(",", ":")) in done.stdout.replace('": ', '":').replace(', "', ',"')


@pytest.mark.requirement("output:schema-from-file", "models:structured-output-schema-refused")
@pytest.mark.parametrize(
    ("text", "why"),
    [("{", "holds no JSON Schema"), ("[]", "holds no JSON Schema"), ('{"type": "text"}', "is no JSON Schema")],
)
def test_a_file_that_holds_no_schema_is_wrong_usage_and_nothing_runs(tmp_path: Path, text: str, why: str) -> None:
    with shell(tmp_path, [Turn(text="never")]) as sh:
        done = sh.run("run", "Count", "--output-schema", file_of(tmp_path, text))
        missing = sh.run("run", "Count", "--output-schema", str(tmp_path / "nowhere.json"))
    assert done.returncode == missing.returncode == 2
    assert why in done.stderr
    assert "cannot be read" in missing.stderr
