"""What is said of a tool: in a word, in words, and as data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import msgspec

from holdfast.cli.hiding.masking import masked
from holdfast.cli.words import count
from holdfast.tools.binding import Tool
from holdfast.tools.elsewhere.calling import whereabouts
from holdfast.tools.tiers import TIERS
from holdfast.types import Effect

__all__ = (
    "PLACES",
    "changes",
    "changes_in_words",
    "data_of",
    "gist_of",
    "kinds_of",
    "limits_of",
    "place_of",
    "standing_of",
)

_GIST = 100
"""Characters of it that stand in a list."""
PLACES = {"direct": "process", "inside": "sandbox", "outside": "machine"}
"""Where each tier acts, in a word."""
_OUTSIDE = {
    "none": "",
    "keyed": "acts outside, once for each call however often it is made",
    "checkable": "acts outside, and can be asked whether it did",
    "unsafe": "acts outside, and nobody can tell afterwards whether it did",
}


def changes(tool: Tool) -> str:
    """Returns what a call changes, in a word or two."""
    if tool.effect is not None:
        return "by call"
    effect = tool.spec.effect
    outside = "" if effect.outside == "none" else effect.outside
    return "+".join(each for each in ("files" * effect.workspace, outside, "sends" * effect.sends) if each) or "nothing"


def changes_in_words(tool: Tool) -> str:
    """Returns what a call changes, for a person."""
    said = _words(tool.spec.effect)
    return f"depends on the call; at most: {said}" if tool.effect is not None else said


def _words(effect: Effect) -> str:
    files = "changes files of the workspace" if effect.workspace else ""
    sends = "what it is given leaves the machine" if effect.sends else ""
    return "; ".join(each for each in (files, _OUTSIDE[effect.outside], sends) if each) or "nothing"


def gist_of(tool: Tool) -> str:
    """Returns the first sentence of what a tool says of itself."""
    line = " ".join(tool.spec.description.split())
    first, stop, _ = line.partition(". ")
    said = f"{first}." if stop else first
    if len(said) <= _GIST:
        return said
    cut = said[:_GIST]
    # Between two words, unless it is one word, or a language that parts none.
    return f"{cut.rpartition(' ')[0].rstrip(',;:') or cut} …"


def kinds_of(schema: dict[str, Any]) -> str:
    """Returns what a parameter takes, as its schema says it, in a word or two."""
    several: Any = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(several, list):
        return " or ".join(dict.fromkeys(kinds_of(each) for each in cast("list[dict[str, Any]]", several)))
    words: Any = schema.get("enum")
    if isinstance(words, list):
        return " | ".join(map(str, cast("list[object]", words)))
    if "const" in schema or "$ref" in schema:
        return str(schema["const"]) if "const" in schema else str(schema["$ref"]).rpartition("/")[2]
    kind: Any = schema.get("type", "anything")
    if isinstance(kind, list):
        return " or ".join(map(str, cast("list[object]", kind)))
    if kind == "array":
        return f"list of {kinds_of(schema.get('items') or {})}"
    return str(kind)


def data_of(tool: Tool) -> dict[str, Any]:
    """Returns all that is declared of a tool, every key of it always there."""
    spec, governance = tool.spec, tool.spec.governance
    effect = {**msgspec.structs.asdict(spec.effect), "depends_on_call": tool.effect is not None}
    return {
        "name": spec.name,
        "reference": spec.reference,
        "description": spec.description,
        "parameters": spec.parameters,
        "effect": effect,
        "tier": tool.tier,
        "governance": {**msgspec.structs.asdict(governance), "classes": governance.classes},
        "timeout": spec.timeout,
        "max_output": spec.max_output,
        "settles": spec.settles,
        "at_once": spec.at_once,
        "terminal": spec.terminal,
        "checked": tool.check is not None,
        "elsewhere": None if (at := whereabouts(tool)) is None else msgspec.structs.asdict(at),
    }


def limits_of(tool: Tool) -> list[str]:
    """Returns what bounds a call, for a person."""
    spec = tool.spec
    time = "as long as the run has" if spec.timeout is None else f"{spec.timeout:g} s"
    said = [time, f"{spec.max_output:,} characters of its result are read"]
    return [*said, f"{count(spec.at_once, 'call')} at one time"] if spec.at_once is not None else said


def place_of(tool: Tool) -> str:
    """Returns where a tool acts, for a person."""
    at = whereabouts(tool) if tool.tier == "direct" else None
    return f"{tool.tier}, {TIERS[tool.tier] if at is None else _ACTS.get(at.transport, _CALLED)}"


def standing_of(tool: Tool) -> Iterator[tuple[str, str]]:
    """Yields what there is to say of where a tool stands that is none of this program, each with its label."""
    at = whereabouts(tool)
    if at is None:
        return
    what = {"cli": "program", "container": "starts", "wasm": "module"}.get(at.transport, "address")
    yield what, masked(at.place) + (" (addresses of your own network are allowed)" if at.private else "")
    yield "transport", at.transport
    for label, words in (
        ("auth", f"{at.auth}, with the secret {at.secret!r}" if at.auth else ""),
        ("secrets", ", ".join(map(repr, at.secrets))),
    ):
        if words or (label == "auth" and not at.secrets):
            yield label, words or "none"
    yield "isolation", at.isolation
    yield "timeout", f"{at.timeout:g} s for an attempt"
    yield "attempts", str(at.attempts)


_CALLED = "its calls leave our process through the address guard, and touch no file"
_ACTS = {
    "cli": "what it starts runs in a container of its own",
    "container": "what it starts runs in a container of its own",
    "wasm": "it runs as WebAssembly in our process, which reaches nothing",
}
"""Where a tool acts that is direct and none of this program, by how it is called."""
