"""Turns a function into a tool.

The signature becomes the parameters, the docstring the description; what cannot be described is refused here, at
import, not in the middle of a run. The tool can be called like the function it was made of, so that it can be
tested like one.

An `async def` runs in the event loop and can be cancelled; a plain `def` runs in a thread.
"""

from __future__ import annotations

import contextlib
import inspect
import re
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from operator import attrgetter
from types import FunctionType
from typing import Any, Generic, ParamSpec, TypeVar, overload

import msgspec

from holdfast.errors import UndescribableTool, UsageError
from holdfast.sandbox.port import Posture
from holdfast.tools.binding import Tool, ToolContext
from holdfast.tools.schema.describing import Described, describe
from holdfast.tools.schema.docstrings import split_docstring
from holdfast.tools.threads import in_thread
from holdfast.tools.tiers import Tier
from holdfast.types import Effect, Governance, Outside, ToolSpec

__all__ = ("FunctionTool", "declared", "local_names", "tool")

P = ParamSpec("P")
R = TypeVar("R")

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What every provider takes as a tool's name."""
_OPTIMIZED = inspect.CO_OPTIMIZED


class FunctionTool(Tool, Generic[P, R], frozen=True, kw_only=True):
    """A tool that is made of a function and can be called as that function."""

    function: Callable[P, R]
    described: Described
    unbound: bool = False
    """Whether it was declared in a class and waits for the object it belongs to."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Calls the function, past parsing and gateway."""
        return self.function(*args, **kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> FunctionTool[..., Any]:
        """Returns the tool of that object, where the function is a method."""
        if instance is None or not self.unbound:
            return self
        function: Callable[..., Any] = self.function
        method = partial(function, instance)
        return msgspec.structs.replace(self, function=method, run=_runner(method, self.described), unbound=False)

    @property
    def __wrapped__(self) -> Callable[P, R]:
        """The function, for `inspect.signature`."""
        return self.function


@overload
def tool(function: Callable[P, R], /) -> FunctionTool[P, R]: ...


@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    effect: Effect | Outside | Callable[[Any, Posture], Effect] | None = None,
    check: Callable[..., Any] | None = None,
    settles: float = 0.0,
    touches: Callable[[Any], tuple[str, ...]] | None = None,
    timeout: float | None = None,
    max_output: int | None = None,
    terminal: bool = False,
    tier: Tier = "inside",
    reference: str | None = None,
    governance: Governance | None = None,
    at_once: int | None = None,
) -> Callable[[Callable[P, R]], FunctionTool[P, R]]: ...


def tool(  # noqa: PLR0913 - what an author may say of a tool, by name
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    effect: Effect | Outside | Callable[[Any, Posture], Effect] | None = None,
    check: Callable[..., Any] | None = None,
    settles: float = 0.0,
    touches: Callable[[Any], tuple[str, ...]] | None = None,
    timeout: float | None = None,
    max_output: int | None = None,
    terminal: bool = False,
    tier: Tier = "inside",
    reference: str | None = None,
    governance: Governance | None = None,
    at_once: int | None = None,
) -> Any:
    """Makes a tool of a function, as `@tool` or `@tool(...)`.

    Args:
        function: what the tool does; each parameter but a `ToolContext` is filled by the model.
        name: what the model calls it; the function's name otherwise.
        description: what the model reads; the docstring without its `Args:` otherwise.
        effect: what a call changes; one word stands for an effect outside the workspace alone. Without it a call
            that was interrupted is never repeated by itself (`unsafe`). Where it depends on the call, a function of
            the arguments, as an object with an attribute for each, and of the posture of what isolates commands.
        check: of a `checkable` effect, the function that asks whether a call has happened. It takes parameters of the
            tool, by name, and a `ToolContext` if it wants one; it returns the result, or None when it did not happen,
            and raises when that cannot be told.
        settles: seconds after its start in which a call that was begun may still take effect; a `check` that finds
            nothing is believed only after them.
        touches: the workspace paths a call with these arguments may change.
        timeout: seconds a call may take.
        max_output: characters of a result the model gets to read.
        terminal: whether the run is over when a call goes well, with what it came to as the output.
        tier: where it acts: commands that it runs through its context are in the sandbox (`inside`), as also where
            nothing is said; `direct` runs none, and is given nothing to run them in; `outside` runs them without one.
        reference: where it is found again, if not at `module:function`.
        governance: what it says of itself to whoever decides whether it may be given, shared or called.
        at_once: how many calls of it there may be at one time in a process, of all runs together.

    Raises:
        UndescribableTool: a parameter has no JSON Schema, or the name is none that providers take.
        UsageError: the effect is none, or has no `check` where it needs one, or one where it needs none.
    """
    judge = effect if effect is not None and not isinstance(effect, (str, Effect)) and callable(effect) else None
    options: dict[str, Any] = {"description": description, "timeout": timeout, "max_output": max_output}
    options |= {"effect": None if judge is not None else _one_effect(effect), "reference": reference}
    options |= {"governance": governance, "at_once": at_once, "settles": settles or None, "terminal": terminal or None}
    names = local_names(sys._getframe(1))  # pyright: ignore[reportPrivateUsage]

    def declare(function: Callable[..., Any]) -> FunctionTool[..., Any]:
        made = declared(function, name or _name_of(function), names, touches, options)
        return _with_check(msgspec.structs.replace(made, effect=judge, tier=tier), check, names)

    return declare if function is None else declare(function)


def _one_effect(given: Any) -> Effect | None:
    """Returns an effect; what is none is taken for a word, so that a wrong one is told which there are."""
    return given if given is None or isinstance(given, Effect) else Effect(outside=given)


def declared(
    function: Callable[..., Any],
    name: str,
    names: dict[str, Any],
    touches: Callable[[Any], tuple[str, ...]] | None,
    options: dict[str, Any],
) -> FunctionTool[..., Any]:
    """Returns the tool that a function's signature and docstring describe; its annotations may use the local `names`,
    and of the `options`, fields of its spec, those that are None are left to them.

    Raises:
        UndescribableTool: the function cannot be a tool; says why.
    """
    if isinstance(function, Tool):
        raise UndescribableTool(f"{name!r} is a tool already; use it as it is, or decorate the function itself")
    if isinstance(function, (staticmethod, classmethod)):
        raise UndescribableTool(f"tool {name!r}: put `@tool` below `@staticmethod`, next to the function")
    if not _NAME.fullmatch(name):
        raise UndescribableTool(
            f"tool {name!r}: the name must be 1 to 64 letters, digits, dashes or underscores; give one with "
            "`@tool(name=...)`"
        )
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise UndescribableTool(f"tool {name!r} is a generator; return the whole result instead of yielding it")
    text, entries = split_docstring(inspect.getdoc(function))
    closure = _closure(function) if inspect.isfunction(function) else {}
    unbound = _is_method(function)
    described = describe(name, function, entries, {**names, **closure}, skip=int(unbound))
    given: dict[str, Any] = {"description": text, "reference": _reference_of(function)}
    given |= {key: value for key, value in options.items() if value is not None}
    spec = ToolSpec(name=name, parameters=described.parameters, **given)
    return FunctionTool(
        spec=spec,
        parse=described.parser(),
        run=_refuse_unbound if unbound else _runner(function, described),
        touches=touches,
        function=function,
        described=described,
        unbound=unbound,
    )


def _with_check(
    made: FunctionTool[..., Any], check: Callable[..., Any] | None, names: dict[str, Any]
) -> FunctionTool[..., Any]:
    """Returns the tool with the function that asks whether a call has happened, where one was given."""
    name = made.spec.name
    if check is None:
        if made.spec.effect.outside == "checkable":
            raise UsageError(f"tool {name!r} is checkable, but nobody can ask: give `check=`, a function that asks")
        return made
    if made.effect is None and made.spec.effect.outside != "checkable":
        raise UsageError(f"tool {name!r} has a `check`, but its effect is not `checkable`: it would never be asked")
    closure = _closure(check) if inspect.isfunction(check) else {}
    described = describe(f"{name}: check", check, {}, {**names, **closure})
    if foreign := sorted(set(described.arguments.__struct_fields__) - set(made.described.arguments.__struct_fields__)):
        raise UndescribableTool(f"tool {name!r}: its check takes {foreign[0]!r}, which is no parameter of the tool")
    return msgspec.structs.replace(made, check=_runner(check, described))


def _runner(function: Callable[..., Any], described: Described) -> Callable[[Any, ToolContext], Awaitable[Any]]:
    """Returns what calls the function with the fields of parsed arguments; nothing is looked up at the call."""
    keywords = _keywords(described)
    if _is_async(function):
        return lambda arguments, context: function(**keywords(arguments, context))

    async def run_plain(arguments: Any, context: ToolContext) -> Any:
        result = await in_thread(partial(function, **keywords(arguments, context)))
        return await result if inspect.isawaitable(result) else result

    return run_plain


def _keywords(described: Described) -> Callable[[Any, ToolContext], dict[str, Any]]:
    names = described.arguments.__struct_fields__
    parameter = described.context
    if not names:
        return lambda arguments, context: {parameter: context} if parameter else {}
    if len(names) == 1:
        only, get_one = names[0], attrgetter(names[0])
        if parameter is None:
            return lambda arguments, context: {only: get_one(arguments)}
        return lambda arguments, context: {only: get_one(arguments), parameter: context}
    get = attrgetter(*names)
    if parameter is None:
        return lambda arguments, context: dict(zip(names, get(arguments), strict=True))
    return lambda arguments, context: {**dict(zip(names, get(arguments), strict=True)), parameter: context}


async def _refuse_unbound(arguments: Any, context: ToolContext) -> Any:
    raise UndescribableTool(
        "this tool is a method and has no object; give the agent `object.method`, not `Class.method`"
    )


def _is_async(function: Callable[..., Any]) -> bool:
    called = getattr(function, "__call__", None)  # noqa: B004 - an object whose call is a coroutine function
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)


def _is_method(function: Callable[..., Any]) -> bool:
    """Whether this is a function in the body of a class, whose first parameter is the object."""
    if not inspect.isfunction(function):
        return False
    owner = function.__qualname__.rpartition(".")[0]
    first = next(iter(inspect.signature(function).parameters), "")
    return bool(owner) and not owner.endswith("<locals>") and first in ("self", "cls")


def _name_of(function: Callable[..., Any]) -> str:
    plain = function.func if isinstance(function, partial) else function
    return str(getattr(plain, "__name__", type(plain).__name__))


def _reference_of(function: Callable[..., Any]) -> str:
    plain = function.func if isinstance(function, partial) else function
    named = plain if hasattr(plain, "__qualname__") else type(plain)
    return f"{named.__module__}:{named.__qualname__}"


def _closure(function: FunctionType) -> dict[str, Any]:
    """The names of functions around it that it uses, those left out that get their value later."""
    names: dict[str, Any] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # the cell is empty
            names[name] = cell.cell_contents
    return names


def local_names(frame: Any) -> dict[str, Any]:
    """Returns what annotations may use beside the module's names: those of the function around, and its class's."""
    names: dict[str, Any] = {}
    while frame is not None and frame.f_code.co_name != "<module>":
        names = {**frame.f_locals, **names}
        if frame.f_code.co_flags & _OPTIMIZED:
            break  # a function; what called it is not around the tool
        frame = frame.f_back
    return names
