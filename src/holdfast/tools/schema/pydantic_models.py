"""Describes and parses parameters that are pydantic models, without importing pydantic.

A model is whatever has `model_json_schema` and `model_validate`: who did not import pydantic has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

__all__ = ("decode_model", "describe_model", "encode_model", "hoist_definitions")


def describe_model(kind: type) -> dict[str, Any]:
    """Returns the JSON Schema of a model, as msgspec's `schema_hook`.

    Raises:
        NotImplementedError: it is some other class.
    """
    describe = getattr(kind, "model_json_schema", None)
    if describe is None or not hasattr(kind, "model_validate"):
        raise NotImplementedError(f"type {kind!r} is not supported")
    # Two models may bring along definitions of one name; the prefix keeps them apart once they are side by side.
    prefix = f"{kind.__module__}.{kind.__qualname__}".replace("<locals>.", "")
    schema = cast(dict[str, Any], describe(ref_template=f"#/$defs/{prefix}.{{model}}"))
    own = cast(dict[str, Any], schema.pop("$defs", {}))
    if own:
        schema["$defs"] = {f"{prefix}.{name}": value for name, value in own.items()}
    return schema


def decode_model(kind: type, value: Any) -> Any:
    """Returns the model made of a value, as msgspec's `dec_hook`.

    Raises:
        ValueError: it does not fit; one line with each field and what is wrong with it.
        NotImplementedError: it is some other class.
    """
    validate = getattr(kind, "model_validate", None)
    if validate is None:
        raise NotImplementedError(f"type {kind!r} is not supported")
    try:
        return validate(value)
    except ValueError as error:
        details = getattr(error, "errors", None)
        if details is None:
            raise
        # Its own text is many lines with addresses of web pages.
        raise ValueError("; ".join(_line(item) for item in details())) from None


def encode_model(value: object) -> Any:
    """Returns what JSON holds of a model, as msgspec's `enc_hook`.

    Raises:
        NotImplementedError: it is of some other class.
    """
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise NotImplementedError(f"type {type(value)!r} is not supported")
    return dump(mode="json")


def hoist_definitions(part: Any, definitions: dict[str, Any]) -> None:
    """Moves the definitions that schemas brought along to the top, where their references look for them."""
    if isinstance(part, dict):
        node = cast(dict[str, Any], part)
        for name, value in cast(dict[str, Any], node.pop("$defs", {})).items():
            definitions[name] = value
            hoist_definitions(value, definitions)
        for value in node.values():
            hoist_definitions(value, definitions)
    elif isinstance(part, list):
        for value in cast(list[Any], part):
            hoist_definitions(value, definitions)


def _line(item: Mapping[str, Any]) -> str:
    where = ".".join(str(step) for step in item.get("loc", ()))
    reason = str(item.get("msg", "is not valid"))
    return f"{where}: {reason}" if where else reason
