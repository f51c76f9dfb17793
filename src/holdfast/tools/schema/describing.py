"""Makes the JSON Schema and the parser of a tool's arguments from a function's signature.

The parameters become the fields of one struct: msgspec describes it and parses into it, so what the model is told
and what is accepted cannot differ.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec

from holdfast.errors import UndescribableTool
from holdfast.tools.binding import ToolContext
from holdfast.tools.schema.pydantic_models import decode_model, describe_model, hoist_definitions

__all__ = ("Described", "describe")

_SCALARS = (type(None), bool, int, float, str, bytes, tuple, frozenset)
_REFERENCES = "#/$defs/{name}"
_EMPTY = inspect.Parameter.empty


class Described(msgspec.Struct, frozen=True):
    """What a signature came to."""

    arguments: type[msgspec.Struct]
    """A struct with a field for each parameter the model fills."""
    parameters: dict[str, Any]
    """The JSON Schema: an object without other properties than these."""
    context: str | None
    """The parameter that receives the `ToolContext`."""

    def parser(self) -> Callable[[bytes], Any]:
        """Returns the compiled decoder of the arguments' JSON."""
        return msgspec.json.Decoder(self.arguments, dec_hook=decode_model).decode


def describe(
    tool: str, function: Callable[..., Any], descriptions: Mapping[str, str], names: Mapping[str, Any], *, skip: int = 0
) -> Described:
    """Describes a function's parameters but for the first `skip`; its annotations may use the local `names`.

    Raises:
        UndescribableTool: names the tool, the parameter, its type and what to do.
    """
    fields: list[tuple[str, Any, Any]] = []
    defaults: dict[str, Any] = {}
    context: str | None = None
    for parameter in list(inspect.signature(function).parameters.values())[skip:]:
        _refuse_kind(tool, parameter)
        hint = _hint(tool, function, parameter, names)
        if hint is ToolContext:
            context = parameter.name
            continue
        hint = _annotated(tool, parameter, hint, descriptions.get(parameter.name, ""))
        _refuse_type(tool, parameter, hint)
        fields.append((parameter.name, hint, _default(parameter.default)))
        if parameter.default is not _EMPTY:
            defaults[parameter.name] = parameter.default
    arguments = msgspec.defstruct(
        "Arguments", fields, kw_only=True, frozen=True, gc=False, forbid_unknown_fields=True, module=__name__
    )
    return Described(arguments, _schema(arguments, defaults), context)


def _refuse_kind(tool: str, parameter: inspect.Parameter) -> None:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise _undescribable(tool, parameter, "takes any number of values", "declare each parameter by its name")
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise _undescribable(tool, parameter, "is positional-only", "remove the `/`: a model passes names")
    if parameter.annotation is _EMPTY:
        raise _undescribable(tool, parameter, "has no annotation", f"write its type, such as `{parameter.name}: str`")


def _refuse_type(tool: str, parameter: inspect.Parameter, hint: object) -> None:
    """Tries the type alone, so that the error can name the parameter."""
    try:
        msgspec.json.schema_components((hint,), schema_hook=describe_model, ref_template=_REFERENCES)
        msgspec.json.Decoder(hint, dec_hook=decode_model)
    except (TypeError, NameError, RecursionError, NotImplementedError) as error:
        # The last line names the type that was stumbled over; the lines before are advice for users of msgspec.
        reason = (str(error).strip().splitlines() or ["it cannot be described"])[-1]
        raise _undescribable(
            tool,
            parameter,
            f"of type {_shown(parameter.annotation)} has no JSON Schema ({reason})",
            "use str, int, float, bool, a list, a dict, Literal, an Enum, a msgspec Struct, a dataclass, a TypedDict "
            "or a pydantic model, alone or in Optional",
        ) from None


def _hint(tool: str, function: Callable[..., Any], parameter: inspect.Parameter, names: Mapping[str, Any]) -> Any:
    annotation = parameter.annotation
    if isinstance(annotation, str) and annotation.strip("'\"").rpartition(".")[2] == "ToolContext":
        return ToolContext  # also where it was imported for type checkers only
    holder = types.SimpleNamespace(__annotations__={parameter.name: annotation})
    scope = getattr(inspect.unwrap(function), "__globals__", {})
    try:
        return typing.get_type_hints(holder, scope, {**names}, include_extras=True)[parameter.name]
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        raise _undescribable(
            tool,
            parameter,
            f"of type {_shown(annotation)} cannot be understood ({error})",
            "import the type at the top of the module, outside `if TYPE_CHECKING`",
        ) from None


def _annotated(tool: str, parameter: inspect.Parameter, hint: Any, text: str) -> Any:
    """Returns the type with its description; one that is written in `Annotated` wins over the docstring."""
    extras: tuple[Any, ...] = ()
    if typing.get_origin(hint) is typing.Annotated:
        extras, hint = hint.__metadata__, hint.__origin__
    for extra in extras:
        if isinstance(extra, msgspec.Meta):
            text = extra.description or text
            hint = typing.Annotated[hint, extra]
        elif isinstance(extra, str):
            text = extra
        elif type(extra).__module__.partition(".")[0] in ("pydantic", "annotated_types"):
            # Passing it over in silence would drop what it checks.
            step = "use `msgspec.Meta` instead, or put the parameters into a pydantic model"
            raise _undescribable(tool, parameter, f"carries {type(extra).__name__!r}, which is not read here", step)
    if parameter.default is None:
        hint = typing.Optional[hint]  # noqa: UP045 - `|` does not take every hint
    return typing.Annotated[hint, msgspec.Meta(description=text)] if text else hint


def _default(default: Any) -> Any:
    if default is _EMPTY:
        return msgspec.NODEFAULT
    if type(default) in _SCALARS:
        return default
    # The very object, as Python does it for a call that leaves the argument out.
    return msgspec.field(default_factory=lambda: default)


def _schema(arguments: type[msgspec.Struct], defaults: Mapping[str, Any]) -> dict[str, Any]:
    (reference,), components = msgspec.json.schema_components(
        (arguments,), schema_hook=describe_model, ref_template=_REFERENCES
    )
    definitions = dict(components)
    top = definitions.pop(reference["$ref"].removeprefix("#/$defs/"))
    for part in (top, *components.values()):
        hoist_definitions(part, definitions)
    properties = cast(dict[str, Any], top["properties"])
    for name, value in properties.items():
        value.pop("default", None)
        if name in defaults:
            _set_default(value, defaults[name])
    schema: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "required": list(top.get("required", ())),
        "additionalProperties": False,
    }
    if definitions:
        schema["$defs"] = definitions
    return schema


def _set_default(value: dict[str, Any], default: object) -> None:
    dump = getattr(default, "model_dump", None)
    try:
        value["default"] = msgspec.to_builtins(dump(mode="json") if dump else default, str_keys=True)
    except (TypeError, ValueError):
        return  # it applies all the same; the model is only not told what it is


def _shown(annotation: object) -> str:
    if isinstance(annotation, str):
        return repr(annotation)
    return repr(annotation.__qualname__ if isinstance(annotation, type) else str(annotation))


def _undescribable(tool: str, parameter: inspect.Parameter, problem: str, step: str) -> UndescribableTool:
    return UndescribableTool(f"tool {tool!r}: parameter {parameter.name!r} {problem}; {step}")
