"""Nobody in the house asks a model but through the calling gateway, nor for a count but through the counting of tokens.

The import contracts keep other rooms away from what speaks to providers; here it is seen to that nobody who is handed a
model asks it himself. Not here: embedders, which are no models that answer.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import AsyncGenerator, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.architecture.tree import PACKAGE, modules, nodes
from tests.running import MODEL, Scene, scene, soon

from holdfast import Agent, tool
from holdfast.models.providers.talking import HttpModel
from holdfast.testing import Turn
from holdfast.testing.faults import Status
from holdfast.testing.scripts import Call

DOORS = {"stream": "models/calling.py", "count": "models/counting.py"}
"""What asks a model, and the one file in which it is asked so."""


def asks(looked_at: Iterable[ast.AST]) -> Iterator[tuple[str, int]]:
    """Yields how a model is asked, and in which line.

    Without types, that is: a call of `stream` with one argument, or with a model for its first; a `count` that is
    waited for; one of both taken from something that is called a model, or by its name as text.
    """
    for node in looked_at:
        match node:
            case ast.Call(func=ast.Attribute(attr="stream"), args=[_], keywords=[]):
                yield "stream", node.lineno
            case ast.Await(value=ast.Call(func=ast.Attribute(attr="count"))):
                yield "count", node.lineno
            case ast.Call(func=ast.Name(id="getattr"), args=[of, ast.Constant(value="stream" | "count" as name), *_]):
                if _is_model(of):
                    yield name, node.lineno
            case ast.Attribute(value=of, attr="stream" | "count" as name, ctx=ast.Load()) if _is_model(of):
                yield name, node.lineno
            case _:
                pass


def _is_model(node: ast.AST) -> bool:
    """Whether something is called a model, or is a class of them."""
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name.lower().endswith("model")


def asked_in(folder: Path) -> dict[tuple[str, str], set[int]]:
    """Returns where models are asked below a folder: how, in which file, and in which lines."""
    found: dict[tuple[str, str], set[int]] = {}
    for path in modules(folder):
        for name, line in asks(nodes(path, ast.Call, ast.Await, ast.Attribute)):
            found.setdefault((name, path.relative_to(folder).as_posix()), set()).add(line)
    return found


@pytest.mark.requirement("models:calling-the-only-door")
def test_a_model_is_asked_in_one_place_and_for_a_count_in_another() -> None:
    asked = asked_in(PACKAGE)
    assert set(asked) == set(DOORS.items())
    assert {len(lines) for lines in asked.values()} == {1}


@pytest.mark.requirement("models:calling-the-only-door")
@pytest.mark.parametrize(
    ("planted", "found"),
    [
        ("async def f(m, request):\n    async for _ in m.stream(request): ...", "stream"),
        ("def f(bindings, request):\n    return bindings.model.stream(request)", "stream"),
        ("def f(target):\n    ask = target.model.stream\n    return ask", "stream"),
        ("from x import HttpModel\ndef f(m, r):\n    return HttpModel.stream(m, r)", "stream"),
        ("def f(model, r):\n    return getattr(model, 'stream')(r)", "stream"),
        ("async def f(m, r):\n    return await m.count(r)", "count"),
        ("def f(self, r):\n    return self._model.count(r)", "count"),
        ("def f(self):\n    return self.stream, 'a'.count('b'), self.render.stream(1, 2)", None),
    ],
)
def test_a_room_that_asks_a_model_itself_is_found(planted: str, found: str | None, tmp_path: Path) -> None:
    (tmp_path / "runtime").mkdir()
    (tmp_path / "runtime" / "planted.py").write_text(planted)
    assert set(asked_in(tmp_path)) == ({(found, "runtime/planted.py")} if found else set())


# ---- and in runs ----------------------------------------------------------------------------------------------------


@tool(effect="none")
def look() -> str:
    "Looks."
    return "seen"


class Found(msgspec.Struct):
    """What was found."""

    number: int


async def whole(scene: Scene, agent: Agent, prompt: str) -> str:
    run = await scene.runtime.start(agent, prompt, session=prompt.replace(" ", "-"))
    result = await soon(run.result(), 10)
    return result.status


@pytest.mark.requirement("models:calling-the-only-door")
async def test_runs_children_repairs_retries_and_failovers_all_ask_through_the_gateway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    callers: list[str] = []
    stream = HttpModel[Any].stream

    def watched(self: HttpModel[Any], request: Any) -> AsyncGenerator[Any, None]:
        callers.append(sys._getframe(1).f_globals["__name__"])
        return stream(self, request)

    monkeypatch.setattr(HttpModel, "stream", watched)
    scripts = {
        "scripted": [Turn(calls=[Call("look")]), Turn(calls=[Call("helper", {"task": "help"})]), Turn("done")],
        "helper": [Turn("helped")],
        "typed": [Turn("no number"), Turn('{"number": 7}')],
        "down": [Turn(fault=Status(status=503))],
        "up": [Turn("up")],
    }
    async with scene(scripts) as here:
        helper = Agent("openai/helper").as_tool("helper", description="Helps.")
        assert await whole(here, Agent(MODEL, tools=[look, helper]), "run") == "completed"
        assert await whole(here, Agent("openai/typed", output=Found), "typed") == "completed"
        assert await whole(here, Agent("openai/down,openai/up"), "failover") == "completed"
        asked = [each.model for each in here.server.requests]
    assert {name: asked.count(name) > 1 for name in scripts} == {
        **dict.fromkeys(("scripted", "typed", "down"), True),
        **dict.fromkeys(("helper", "up"), False),
    }
    assert len(callers) == len(asked)
    assert set(callers) == {"holdfast.models.calling"}
