"""Policies and profiles as YAML that is read as the same value again, here and by OpenShell.

What is as it would be anyway is left out. Binaries are written as objects with a `path`, which every version of
OpenShell reads; texts are quoted wherever some version of YAML would take them for something else.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
import yaml

from holdfast.sandbox.policy.loading import KIND
from holdfast.sandbox.policy.openshell import Policy
from holdfast.sandbox.policy.profile import Profile

__all__ = ("export",)

_PLAIN: Final = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
_MEANS_MORE: Final = re.compile(r"true|false|yes|no|on|off|y|n|null", re.IGNORECASE)


def export(value: Policy | Profile) -> str:
    """Returns the document of a policy, or of a profile with its policy inside.

    A policy that breaks a rule of the format comes out as it is, and is refused when it is read.
    """
    document: dict[str, Any] = {"kind": KIND} if isinstance(value, Profile) else {}
    return yaml.dump(document | _plain(value), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        fields = msgspec.structs.fields(value)
        said = {each.name: getattr(value, each.name) for each in fields if _says_something(value, each)}
        return {name: _plain(each) for name, each in said.items()}
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}  # pyright: ignore[reportUnknownVariableType]
    return value


def _says_something(value: msgspec.Struct, field: msgspec.structs.FieldInfo) -> bool:
    said = getattr(value, field.name)
    if isinstance(value, Policy) and field.name == "version":
        return True
    return said != {} if field.default is msgspec.NODEFAULT else said != field.default


class _Dumper(yaml.SafeDumper):
    """Writes texts so that nobody takes them for anything else, and repeats what stands twice."""

    def ignore_aliases(self, data: Any) -> bool:
        """Nothing is abbreviated."""
        return True


def _text(_: _Dumper, text: str) -> yaml.ScalarNode:
    plain = _PLAIN.fullmatch(text) and not _MEANS_MORE.fullmatch(text)
    return yaml.ScalarNode("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _text)
