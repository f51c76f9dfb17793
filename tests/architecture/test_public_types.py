"""A program of a user type-checks, and what it should not get away with is found, each mistake in its line."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import pytest
from tests.architecture.tree import ROOT

import holdfast

BEGINNING = '''
from dataclasses import dataclass
from pathlib import Path
from holdfast import Agent, Effect, Limits, Phase, Pipeline, Price, Runtime, ToolContext, Wait, tool

@dataclass
class City:
    name: str
    people: int

@tool(effect="none")
def add(a: int, b: int) -> int:
    """Adds."""
    return a + b

@tool(effect=Effect(workspace=True, outside="none"))
async def note(text: str, context: ToolContext) -> str:
    """Writes a note."""
    return f"{context.call_id}: {text}"

@tool
async def ask() -> Wait:
    """Asks somebody."""
    return Wait("colour", prompt="Which?")

plain = Agent("openai/gpt-5-mini", instructions="Add.", tools=[add, note, ask, "read"])
typed = Agent("openai/gpt-5-mini", output=City, limits=Limits(steps=3, dollars=0.5))
line = Pipeline([Phase("facts", plain, "Find {query}"), Phase("city", typed, "Which city: {facts}")])

async def main() -> None:
    async with Runtime.open("memory:", prices={"openai/mine": Price.per_million(1, 2)}) as runtime:
        run = await runtime.start(typed, "Where?", workspace=Path(), limits=Limits(tokens=1000), mode="ask")
        async for event in run.events():
            print(event.type)
        result = await run.result()
        await run.steer("faster")
        words: str = (await (await runtime.start(line, ["a", "b"])).result()).output
        print(words, result.cost, result.usage.total_tokens)
'''
FINE = "        people: int = result.value.people if result.value is not None else 0\n        print(people)\n"
MISTAKES = {
    "an option that is none": "Agent('openai/x', instructons='Add.')",
    "a model that is no name": "Agent(3)",
    "a tool that is none": "Agent('openai/x', tools=[3])",
    "a limit that is no number": "Limits(steps='many')",
    "an effect that is none": "tool(effect='sometimes')",
    "a mode that is none": "await runtime.start(plain, 'go', mode='careful')",
    "no agent": "await runtime.start('plain', 'go')",
    "a result that was not waited for": "run.result().output",
    "an answer that may be missing": "result.value.people",
    "a field that the answer has not": "result.value.mayor if result.value else ''",
    "a status that is none": "print(result.status == 'done')",
    "a value that is changed": "result.usage.input_tokens = 3",
}
"""What is wrong, and a line that has it."""


def complaints(folder: Path, program: str) -> dict[int, str]:
    """Returns what the strict type checker says of a program, by line."""
    (folder / "program.py").write_text(program)
    (folder / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict", "pythonVersion": "3.11"}')
    pyright = Path(sys.executable).with_name("pyright")
    command = [pyright, "--outputjson", "--pythonpath", sys.executable, "-p", folder]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    said: dict[str, Any] = json.loads(done.stdout)
    assert said["summary"]["filesAnalyzed"] == 1
    return {each["range"]["start"]["line"]: each["message"] for each in said["generalDiagnostics"]}


@pytest.mark.requirement("repo:typed-public-surface")
def test_a_program_against_the_public_names_type_checks(tmp_path: Path) -> None:
    assert (ROOT / "src" / "holdfast" / "py.typed").exists()
    assert complaints(tmp_path, BEGINNING + FINE) == {}


@pytest.mark.requirement("repo:typed-public-surface")
def test_each_mistake_of_a_program_is_found_in_its_line(tmp_path: Path) -> None:
    first = BEGINNING.count("\n")
    found = complaints(tmp_path, BEGINNING + "".join(f"        {each}\n" for each in MISTAKES.values()))
    assert {what for number, what in enumerate(MISTAKES) if first + number not in found} == set()
    assert min(found) >= first


@pytest.mark.requirement("repo:public-hints")
@pytest.mark.parametrize("name", sorted(set(holdfast.__all__) - {"__version__"}))
def test_the_types_of_what_is_public_can_be_read_at_run_time(name: str) -> None:
    public = getattr(holdfast, name)
    methods = inspect.getmembers(public, inspect.isfunction) if inspect.isclass(public) else []
    for each in (public, *(function for method, function in methods if not method.startswith("_"))):
        typing.get_type_hints(each)
