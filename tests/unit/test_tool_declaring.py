"""`@tool`: signature to schema, docstring to descriptions, arguments to the user's own types."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import inspect
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional, TypedDict, get_type_hints

import msgspec
import pydantic
import pytest

from holdfast.errors import UndescribableTool, UsageError
from holdfast.tools.binding import Tool
from holdfast.tools.binding import ToolContext as Context
from holdfast.tools.declaring import FunctionTool, tool
from holdfast.tools.schema.fitting import misfit
from holdfast.types import CallId, Effect, StreamId

if TYPE_CHECKING:
    from decimal import Decimal as OnlyForCheckers

    from holdfast.tools.binding import ToolContext

CONTEXT = Context(call_id=CallId("c1"), stream=StreamId("local/s1"), key="k1")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Point(msgspec.Struct):
    x: int
    y: int = 0


@dataclasses.dataclass
class Box:
    corner: Point
    inner: Box | None = None


class Options(TypedDict, total=False):
    deep: bool


class Tag(pydantic.BaseModel):
    name: str
    tags: list[Tag] = []


class Node(pydantic.BaseModel):
    tag: Tag
    weight: int = pydantic.Field(default=1, ge=0)


async def call(made: Tool, arguments: dict[str, Any]) -> Any:
    return await made.run(made.parse(json.dumps(arguments).encode()), CONTEXT)


@pytest.mark.requirement("tools:decorator-schema")
def test_a_signature_becomes_a_closed_object_schema() -> None:
    @tool
    def search(text: str, limit: int = 10, kind: Literal["a", "b"] = "a", where: str | None = None) -> str:
        return text

    assert search.spec.name == "search"
    assert search.spec.parameters == {
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "limit": {"type": "integer", "default": 10},
            "kind": {"enum": ["a", "b"], "default": "a"},
            "where": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        },
        "required": ["text"],
        "additionalProperties": False,
    }


@pytest.mark.requirement("tools:decorator-schema")
def test_a_function_without_parameters_has_an_empty_object() -> None:
    @tool
    def now() -> str:
        return "now"

    empty = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    assert now.spec.parameters == empty


@pytest.mark.requirement("tools:decorator-docstring")
def test_a_docstring_gives_the_description_and_those_of_the_parameters() -> None:
    @tool
    def move(source: str, target: str, force: bool = False) -> None:
        """Move a file.

        It replaces nothing unless told to.

        Args:
            source: What to move,
                relative to here.
            target (str): Where to.
            force: Replace what is there: yes, really.

        Returns:
            Nothing.
        """

    assert move.spec.description == "Move a file.\n\nIt replaces nothing unless told to.\n\nReturns:\n    Nothing."
    described = {name: value["description"] for name, value in move.spec.parameters["properties"].items()}
    assert described == {
        "source": "What to move, relative to here.",
        "target": "Where to.",
        "force": "Replace what is there: yes, really.",
    }


@pytest.mark.requirement("tools:decorator-docstring")
def test_a_description_in_annotated_wins_over_the_docstring() -> None:
    @tool
    def f(
        a: Annotated[int, "said here"],
        b: Annotated[int, msgspec.Meta(description="and here", ge=1)],
        c: Annotated[Optional[str], "or here"] = None,  # noqa: UP045 - people write it
    ) -> None:
        """F.

        Args:
            a: not this
            b: nor this
        """

    properties = f.spec.parameters["properties"]
    assert [properties[name]["description"] for name in "abc"] == ["said here", "and here", "or here"]
    assert properties["b"]["minimum"] == 1
    with pytest.raises(msgspec.ValidationError, match=r"\$\.b"):
        f.parse(b'{"a": 1, "b": 0}')


@pytest.mark.requirement("tools:decorator-user-types")
async def test_the_function_receives_the_types_it_declares() -> None:
    @tool
    async def take(point: Point, box: Box, options: Options, colour: Colour, node: Node, tags: list[Tag]) -> list[Any]:
        return [point, box, options, colour, node, tags]

    result = await call(
        take,
        {
            "point": {"x": 1},
            "box": {"corner": {"x": 2, "y": 3}, "inner": {"corner": {"x": 4}}},
            "options": {"deep": True},
            "colour": "blue",
            "node": {"tag": {"name": "t"}, "weight": 3},
            "tags": [{"name": "u", "tags": [{"name": "v"}]}],
        },
    )
    inner = Box(Point(4))
    tags = [Tag(name="u", tags=[Tag(name="v")])]
    assert result == [
        Point(1), Box(Point(2, 3), inner), {"deep": True}, Colour.BLUE, Node(tag=Tag(name="t"), weight=3), tags
    ]  # fmt: skip


@pytest.mark.requirement("tools:decorator-user-types")
def test_every_reference_in_a_schema_leads_somewhere() -> None:
    @tool
    def take(box: Box, node: Node, tag: Tag | None = None) -> None: ...

    schema = take.spec.parameters
    text = json.dumps(schema)
    references = {part.split('"')[0] for part in text.split('"$ref": "#/$defs/')[1:]}
    assert references == set(schema["$defs"]) >= {"Box", "Point"}
    assert '"$defs"' not in json.dumps(schema["$defs"])
    assert json.loads(text) == schema


@pytest.mark.requirement("tools:decorator-user-types")
def test_what_pydantic_refuses_is_told_in_one_line() -> None:
    @tool
    def take(node: Node) -> None: ...

    with pytest.raises(msgspec.ValidationError) as caught:
        take.parse(b'{"node": {"tag": {}, "weight": -1}}')
    message = str(caught.value)
    assert "tag.name: Field required; weight: Input should be greater than or equal to 0 - at `$.node`" in message
    assert "http" not in message
    assert "\n" not in message


@pytest.mark.requirement("tools:decorator-never-imports-pydantic")
def test_declaring_a_tool_imports_no_pydantic() -> None:
    code = (
        "import sys\nfrom holdfast.tools.declaring import tool\n"
        "def f(a: int, b: list[str]) -> int: return a\n"
        "tool(f).parse(b'{\"a\": 1, \"b\": []}')\nassert 'pydantic' not in sys.modules, 'imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)


@pytest.mark.requirement("tools:decorator-function-still-callable")
async def test_a_tool_is_called_like_the_function_it_was_made_of() -> None:
    @tool
    def add(a: int, b: int = 2) -> int:
        return a + b

    @tool(name="late")
    async def later(a: int) -> int:
        return a

    assert add(1) == 3
    assert add(1, b=5) == 6
    assert await later(4) == 4
    assert list(inspect.signature(add).parameters) == ["a", "b"]


@pytest.mark.requirement("tools:decorator-context-parameter")
async def test_the_context_is_handed_over_and_not_described() -> None:
    @tool
    async def which(where: ToolContext, name: str = "") -> tuple[str, str]:
        return where.key, name

    @tool
    async def alone(where: Context) -> str:
        return where.call_id

    assert list(which.spec.parameters["properties"]) == ["name"]
    assert await call(which, {"name": "n"}) == ("k1", "n")
    assert await call(alone, {}) == "c1"


def plain(value: int) -> int:
    return value


def starred(*values: int) -> None: ...
def doubled(**values: int) -> None: ...
def positional(value: int, /) -> None: ...
def bare(value) -> None: ...  # pyright: ignore[reportMissingParameterType]
def takes_function(value: Callable[[int], int]) -> None: ...
def takes_object(value: threading.Lock) -> None: ...
def takes_nested(value: dict[str, threading.Thread]) -> None: ...
def takes_unknown(value: NoSuchType) -> None: ...  # noqa: F821 # pyright: ignore
def takes_checked(value: OnlyForCheckers) -> None: ...
def takes_field(value: Annotated[int, pydantic.Field(ge=1)]) -> None: ...
def takes_mixed(value: Point | Tag) -> None: ...
def yields(value: int) -> Any:
    yield value


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (starred, ["'starred'", "'values'", "any number", "by its name"]),
        (doubled, ["'doubled'", "'values'", "any number"]),
        (positional, ["'positional'", "'value'", "positional-only", "remove the `/`"]),
        (bare, ["'bare'", "'value'", "no annotation", "`value: str`"]),
        (takes_function, ["'takes_function'", "'value'", "Callable"]),
        (takes_object, ["'takes_object'", "'value'", "'threading.Lock'", "pydantic model"]),
        (takes_nested, ["'takes_nested'", "'value'", "Thread"]),
        (takes_unknown, ["'takes_unknown'", "'value'", "'NoSuchType'", "import the type"]),
        (takes_checked, ["'takes_checked'", "'OnlyForCheckers'", "outside `if TYPE_CHECKING`"]),
        (takes_field, ["'takes_field'", "'value'", "'FieldInfo'", "msgspec.Meta"]),
        (takes_mixed, ["'takes_mixed'", "'value'"]),
        (yields, ["'yields'", "generator"]),
        (staticmethod(plain), ["'plain'", "below `@staticmethod`"]),
        (tool(plain), ["'FunctionTool'", "already"]),
        (lambda value: value, ["'<lambda>'", "@tool(name=...)"]),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
@pytest.mark.requirement("tools:undescribable-parameter")
def test_what_cannot_be_described_is_refused_at_once_with_the_next_step(function: Any, words: list[str]) -> None:
    with pytest.raises(UndescribableTool) as caught:
        tool(function)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("name", ["", "has space", "dot.ted", "ümlaut", "x" * 65])
def test_a_name_no_provider_takes_is_refused(name: str) -> None:
    with pytest.raises(UndescribableTool, match="1 to 64 letters"):
        tool(name=name or "-" * 70)(plain)


async def test_types_defined_inside_a_function_are_understood() -> None:
    class Local(msgspec.Struct):
        n: int

    def make() -> FunctionTool[..., Any]:
        @tool
        async def inner(value: Local, more: list[Local]) -> int:
            return value.n + len(more) + (0 if Local else 1)

        return inner

    assert await call(make(), {"value": {"n": 1}, "more": [{"n": 1}]}) == 2


class Counter:
    step = tool(name="step")(plain)

    def __init__(self) -> None:
        self.count = 0

    @tool
    async def add(self, amount: int) -> int:
        """Count on."""
        self.count += amount
        return self.count

    @staticmethod
    @tool
    def fixed(amount: int) -> int:
        return amount


async def test_a_method_is_the_tool_of_its_object() -> None:
    one, two = Counter(), Counter()
    assert list(one.add.spec.parameters["properties"]) == ["amount"]
    assert await call(one.add, {"amount": 2}) == 2
    assert await call(one.add, {"amount": 3}) == 5
    assert await call(two.add, {"amount": 1}) == 1
    assert await call(one.step, {"value": 7}) == 7
    assert await call(tool(one.add.function), {"amount": 1}) == 6
    with pytest.raises(UndescribableTool, match=r"object\.method"):
        await call(Counter.add, {"amount": 1})


@pytest.mark.requirement("tools:effect-default-and-declared")
def test_an_effect_is_what_was_said_and_else_the_cautious_one() -> None:
    assert tool(plain).spec.effect == Effect(workspace=False, outside="unsafe")
    assert tool(effect="none")(plain).spec.effect == Effect(outside="none")
    assert tool(effect=Effect(workspace=True, outside="keyed"))(plain).spec.effect == Effect(True, "keyed")


@pytest.mark.requirement("tools:effect-words")
@pytest.mark.parametrize("word", ["nothing", "None", "", True])
def test_an_effect_that_is_none_is_refused_with_the_words_there_are(word: Any) -> None:
    for declare in (lambda: tool(effect=word), lambda: Effect(outside=word), lambda: Effect(True, word)):
        with pytest.raises(UsageError, match="'none', 'keyed', 'checkable' or 'unsafe'") as caught:
            declare()
        assert repr(word) in str(caught.value)


def test_options_reach_the_spec() -> None:
    made = tool(name="n", description="d", timeout=3, max_output=9, touches=lambda given: (given.value,))(plain)
    assert (made.spec.name, made.spec.description, made.spec.timeout, made.spec.max_output) == ("n", "d", 3, 9)
    assert made.touches is not None
    assert made.touches(made.parse(b'{"value": 4}')) == (4,)
    assert made.spec.reference == f"{__name__}:plain"


async def test_a_default_is_the_very_object_python_would_use() -> None:
    shared: list[int] = [1]

    @tool
    async def f(values: list[int] = shared, point: Point = Point(1), colour: Colour = Colour.RED) -> Any:  # noqa: B008
        return values, point, colour

    values, point, colour = await call(f, {})
    assert values is shared
    assert (point, colour) == (Point(1), Colour.RED)
    properties = f.spec.parameters["properties"]
    assert [properties[name]["default"] for name in properties] == [[1], {"x": 1, "y": 0}, "red"]


def test_arguments_that_do_not_fit_name_the_field() -> None:
    made = tool(plain)
    for text, words in ((b'{"value": "1"}', r"\$\.value"), (b"{}", "value"), (b'{"value": 1, "x": 2}', "`x`")):
        with pytest.raises(msgspec.ValidationError, match=words):
            made.parse(text)
    with pytest.raises(msgspec.DecodeError):
        made.parse(b'{"value": 1')


@pytest.mark.requirement("tools:async-tool-without-thread")
async def test_an_async_tool_runs_in_the_loop() -> None:
    @tool
    async def where() -> int:
        return threading.get_ident()

    assert await call(where, {}) == threading.get_ident()


@pytest.mark.requirement("tools:plain-tool-in-thread")
async def test_a_plain_tool_runs_while_the_loop_goes_on() -> None:
    free = threading.Event()

    @tool
    def wait() -> bool:
        return free.wait(5)

    running = asyncio.create_task(call(wait, {}))
    await asyncio.sleep(0)
    free.set()
    assert await running is True


async def test_a_plain_function_may_return_something_to_await() -> None:
    async def later() -> str:
        return "late"

    def plain_later() -> Any:
        return later()

    assert await call(tool(plain_later), {}) == "late"


def test_hints_of_the_tests_own_types_still_resolve() -> None:
    assert get_type_hints(Box)["inner"] == Box | None


async def test_what_does_not_fit_a_schema_is_said_with_its_place_and_what_fits_is_left_to_the_parser() -> None:
    @tool
    async def mark(
        box: Box,
        node: Node,
        colour: Colour,
        many: Annotated[int, msgspec.Meta(ge=1)] = 1,
        point: Optional[Point] = None,  # noqa: UP045 - as many write it
        table: dict[str, int] = {},  # noqa: B006 - a default of that kind
    ) -> None:
        """Marks."""

    fits: dict[str, Any] = {"box": {"corner": {"x": 1}}, "node": {"tag": {"name": "a"}}, "colour": "red"}
    for more, why in (
        ({}, ""),
        ({"many": 3, "point": None, "table": {"a": 1}}, ""),
        ({"box": {"corner": {"x": "y"}}}, "box.corner.x wants an integer, not 'y'"),
        ({"box": {"corner": {"x": 1}, "inner": {"corner": {}}}}, "box.inner.corner.x is missing"),
        ({"node": {"tag": {"name": "a", "tags": [{"name": "b"}, {}]}}}, "node.tag.tags[1].name is missing"),
        ({"colour": "green"}, "colour wants one of ['blue', 'red'], not 'green'"),
        ({"many": True}, "many wants an integer, not True"),
        ({"many": 3.0}, "many wants an integer, not 3.0"),
        ({"many": 0}, "many wants at least 1, not 0"),
        ({"point": "here"}, "point wants an object, not 'here'"),
        ({"table": {"a": "b"}}, "table.a wants an integer, not 'b'"),
        ({"manny": 1}, "manny is none of box, node, colour, many, point, table"),
    ):
        given = fits | more
        assert misfit(mark.spec.parameters, given) == why
        if why:
            with pytest.raises(msgspec.ValidationError):
                mark.parse(msgspec.json.encode(given))
        else:
            mark.parse(msgspec.json.encode(given))
