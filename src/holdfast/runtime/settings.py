"""What a person set for their runs, and where each value comes from.

The order is: a flag (the surface's business), the environment, the project's file, the user's file, the default.

A project's file may have come with somebody else's repository, so it can only make things stricter: it names no
store and no model, and a mode or a limit of its own counts only where it lies below what would hold without it. What
is passed over for that reason is said in `Settings.notes`. Only plain values are read from a file, never more than
64 KiB of it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, cast, final

import msgspec

from holdfast.errors import UsageError
from holdfast.errors.hinting import hint
from holdfast.models.routing.tiers import TIER
from holdfast.runtime.configuring import reading
from holdfast.runtime.configuring.naming import ALIAS, check_names
from holdfast.types import LEVELS, MODES, Limits, Mode, ThinkingLevel

if TYPE_CHECKING:
    from yaml import MappingNode

    from holdfast.models.access.servers import CustomServer
    from holdfast.models.catalogue import Facts

__all__ = (
    "KEYS",
    "MODELS",
    "SERVERS",
    "Key",
    "Setting",
    "Settings",
    "key_of",
    "load_settings",
    "parse",
    "project_file",
    "read_file",
    "tiers_of",
    "user_file",
)

Source = Literal["environment", "project", "user", "default"]
_LARGEST = 64 * 1024
_TAGS = {"tag:yaml.org,2002:null", "tag:yaml.org,2002:str", "tag:yaml.org,2002:bool", "tag:yaml.org,2002:int"}
_TAGS.add("tag:yaml.org,2002:float")


class Key(msgspec.Struct, frozen=True):
    """One thing that can be set."""

    name: str
    about: str
    """What it does, for people."""
    read: Callable[[str], Any]
    """Reads a value as it is written; raises ValueError, whose text says what is wanted."""
    default: Any = None

    @property
    def variable(self) -> str:
        """The environment's name for it."""
        return f"HOLDFAST_{self.name.upper()}"


_LIMITS = {"max_steps": "steps", "max_tokens": "tokens", "max_dollars": "dollars", "max_seconds": "seconds"}
_ALL = (
    Key("model", "The model of a run, as provider/name. Not in a project's file.", reading.model, "openai/gpt-5-mini"),
    Key("provider", "Whose models names without a provider are. Not in a project's file.", reading.provider),
    Key("thinking", "How much models think, low or high, say. Not in a project's file.", reading.one_of(*LEVELS)),
    Key("store", "Where the log is kept. Not in a project's file.", reading.words),
    Key("mode", f"What runs without a question: {', '.join(MODES)}.", reading.one_of(*MODES), "accept-edits"),
    Key(
        "sandbox",
        "What commands run in: a sandbox's name or a profile's file. Not in a project's.",
        reading.words,
        "auto",
    ),
    Key("policy", "A file that says which calls there may be. Not in a project's file.", reading.words),
    Key("max_steps", "Model calls of a run.", reading.whole, Limits().steps),
    Key("max_tokens", "Tokens of a run, in and out together.", reading.whole),
    Key("max_dollars", "What the model may cost in a run.", reading.amount),
    Key("max_seconds", "Wall time of a run.", reading.amount),
    Key("plain", "No colours and no line that moves.", reading.truth, False),
    Key("theme", "Colours of code for a dark or a light terminal.", reading.one_of("dark", "light"), "dark"),
)
KEYS: Mapping[str, Key] = {key.name: key for key in _ALL}
"""Everything that can be set, by its name."""
_NAMED = re.compile(r"model\.(?:tier|alias)\.[\w.-]+")
MODELS, SERVERS = "models.", "servers."
"""What the setting of a fact about a model begins with, and the description of a server."""
_FACT = re.compile(r"models\.(?P<model>[^/\s'\"#]+/[^\s'\"#]+)\.(?P<field>\w+)")


def key_of(name: str) -> Key | None:
    """Returns what can be set by a name: one of `KEYS`, or what a tier or an alias stands for."""
    if (found := _FACT.fullmatch(name)) is not None:
        return _fact_key(name, found["field"])
    if (key := KEYS.get(name)) is not None or not _NAMED.fullmatch(name):
        return key
    return Key(name, "What this name stands for where a model is named. Not in a project's file.", reading.model)


def _fact_key(name: str, field: str) -> Key | None:
    from holdfast.models.catalogue import FIELDS

    if field not in FIELDS:
        return None

    def read(text: str) -> str:
        FIELDS[field](text)
        return text.strip()

    return Key(name, "What is known better of a model than the catalogue does. Not in a project's file.", read)


class Setting(msgspec.Struct, frozen=True):
    """A value and where it comes from."""

    key: str
    value: str | int | float | bool | Mapping[str, Any] | None
    """None where nothing is set and there is no default: no bound, or the data folder. Of a server, its fields."""
    source: Source
    where: str = ""
    """The variable, or the file and line."""


@final
class Settings:
    """What holds in a folder."""

    def __init__(self, values: Mapping[str, Setting], notes: tuple[str, ...] = ()) -> None:
        self.values = values
        """Every key with its value."""
        self.notes = notes
        """What was passed over and why, a sentence each."""

    @property
    def model(self) -> str:
        """The model, as `provider/name`."""
        return str(self.values["model"].value)

    @property
    def thinking(self) -> ThinkingLevel | None:
        """How much models think; None leaves it to them."""
        return cast("ThinkingLevel | None", self.values["thinking"].value)

    @property
    def provider(self) -> str:
        """Whose models names are that do not say it themselves; empty where nobody said."""
        return str(self.values["provider"].value or "")

    @property
    def aliases(self) -> Mapping[str, str]:
        """What names stand for where a model is named."""
        return self._named(ALIAS)

    @property
    def tiers(self) -> Mapping[str, str]:
        """What tiers stand for; whoever runs for long asks `tiers_of` again."""
        return self._named(TIER)

    @property
    def facts(self) -> Mapping[str, Facts]:
        """What is known better of models than the catalogue does, by full name.

        Raises:
            UsageError: a price is given in part.
        """
        told: dict[str, dict[str, Any]] = {}
        for name, each in self.values.items():
            if (found := _FACT.fullmatch(name)) is not None:
                told.setdefault(found["model"], {})[found["field"]] = each.value
        if not told:
            return {}
        from holdfast.models.catalogue import read_facts

        return read_facts(told)

    @property
    def servers(self) -> Mapping[str, CustomServer]:
        """Servers that are described here, by name.

        Raises:
            UsageError: one cannot be that; the message names it and the field.
        """
        found: dict[str, CustomServer] = {}
        for name, each in self.values.items():
            if name.startswith(SERVERS):
                from holdfast.models.access.servers import read_servers
                from holdfast.models.providers.finding import PROVIDERS

                told = {name.removeprefix(SERVERS): each.value}
                found |= read_servers(told, PROVIDERS, f"{each.where}: servers")
        return found

    def _named(self, prefix: str) -> Mapping[str, str]:
        return {
            name.removeprefix(prefix): str(each.value) for name, each in self.values.items() if name.startswith(prefix)
        }

    @property
    def store(self) -> str | None:
        """The store's URL; None for the data folder's."""
        value = self.values["store"].value
        return None if value is None else str(value)

    @property
    def mode(self) -> Mode:
        """What an agent may do without a question."""
        return cast("Mode", self.values["mode"].value)

    @property
    def sandbox(self) -> str:
        """What commands run in: a backend's name, or the file of a profile."""
        return str(self.values["sandbox"].value)

    @property
    def policy(self) -> str | None:
        """The file of the policy that decides about calls; None where every call may be."""
        value = self.values["policy"].value
        return None if value is None else str(value)

    @property
    def plain(self) -> bool:
        """Whether colours and the line that moves are unwanted."""
        return bool(self.values["plain"].value)

    @property
    def theme(self) -> str:
        """`dark` or `light`."""
        return str(self.values["theme"].value)

    def limits(self, **given: float | None) -> Limits:
        """Returns the limits of a run: those that are `given` (as `steps`, `tokens`, `dollars`, `seconds`), else
        those that are set.
        """
        named: dict[str, Any] = {limit: self.values[key].value for key, limit in _LIMITS.items()}
        named.update({name: value for name, value in given.items() if value is not None})
        return Limits(**named)


def user_file(env: Mapping[str, str]) -> Path:
    """Returns where the user's own settings are kept, whether or not there are any."""
    base = env.get("XDG_CONFIG_HOME") or ""
    folder = Path(base) if base.startswith("/") else Path(env.get("HOME") or Path.home()) / ".config"
    return folder / "holdfast" / "config.yaml"


def tiers_of(env: Mapping[str, str]) -> Callable[[str], str | None]:
    """Returns what looks up, in the user's file as it is then, what a setting such as `model.tier.smart` says."""
    path = user_file(env)

    def read(name: str) -> str | None:
        value, _ = read_file(path).get(name, (None, 0)) if _NAMED.fullmatch(name) else (None, 0)
        return value

    return read


def project_file(folder: Path) -> Path | None:
    """Returns the settings file of the project a folder belongs to: the nearest one from there upwards."""
    start = folder.resolve()
    for each in (start, *start.parents):
        if os.path.lexists(path := each / ".holdfast" / "config.yaml"):
            return path
    return None


def load_settings(folder: Path, env: Mapping[str, str]) -> Settings:
    """Returns what holds in a folder.

    Raises:
        UsageError: a file or a variable names something else than a setting or a value; the message says where.
    """
    values = {key.name: Setting(key.name, key.default, "default") for key in _ALL}
    own = user_file(env)
    values |= _settings(own, "user")
    notes: list[str] = []
    path = project_file(folder)
    if path is not None and path != own:
        for name, setting in _settings(path, "project").items():
            reason = _too_loose(setting, values.get(name))
            if not reason:
                values[name] = setting
            elif name not in KEYS or not env.get(KEYS[name].variable):
                notes.append(f"{setting.where}: {name} is passed over: {reason}")
    for key in _ALL:
        if text := env.get(key.variable):
            values[key.name] = Setting(key.name, parse(key.name, text, key.variable), "environment", key.variable)
    check_names({name: (str(each.value), each.where) for name, each in values.items()})
    return Settings(values, tuple(notes))


def _settings(path: Path, source: Source) -> dict[str, Setting]:
    found = read_file(path)
    return {name: Setting(name, value, source, f"{path}:{line}") for name, (value, line) in found.items()}


_NEVER = {
    "store": "a project does not choose where your logs are kept",
    "sandbox": "a project does not choose what keeps its commands in",
    "policy": "a project does not choose who decides about calls",
    "thinking": "a project does not choose how much models think, and so what a run costs",
}


def _too_loose(given: Setting, otherwise: Setting | None) -> str:
    """Why a project may not say this; empty when it may."""
    if given.key.startswith((MODELS, SERVERS)):
        return "a project does not say what models cost and who is asked; use your own file"
    if otherwise is None or given.key == "provider" or given.key not in KEYS:
        return "a project does not choose which models names stand for; use your own file"
    if given.key in _NEVER:
        return _NEVER[given.key]
    ours, theirs = otherwise.value, given.value
    if given.key == "model":
        return (
            f"a project does not choose what a run costs and who reads it; to have {theirs!r} here use a flag, "
            "HOLDFAST_MODEL or your own file"
        )
    if given.key == "mode" and MODES.index(cast("Mode", theirs)) > MODES.index(cast("Mode", ours)):
        return f"a project may only be stricter than {ours!r}; use a flag, HOLDFAST_MODE or your own file"
    if given.key in _LIMITS and ours is not None and cast("float", theirs) > cast("float", ours):
        return f"a project may only be stricter than {ours}; use a flag, {KEYS[given.key].variable} or your own file"
    return ""


def parse(name: str, text: str, where: str) -> Any:
    """Returns a setting's value from what was written `where`.

    Raises:
        UsageError: there is no such setting, or no such value of it.
    """
    if (key := key_of(name)) is None:
        _refuse_section(name, where)
        raise UsageError(f"{where}: there is no setting {name!r}: {hint(name, KEYS)}")
    try:
        return key.read(text)
    except ValueError as error:
        shown = text if len(text) <= 80 else f"{text[:79]}…"
        raise UsageError(f"{where}: {name} cannot be {shown!r}: {error}") from None


def _refuse_section(name: str, where: str) -> None:
    """Raises where a name belongs to a section, and not to what can be set there."""
    if name.startswith(SERVERS):
        raise UsageError(f"{where}: a server has several fields: describe it with an editor, under servers")
    if name.startswith(MODELS):
        from holdfast.models.catalogue import read_fact

        model, _, field = name.removeprefix(MODELS).rpartition(".")
        if "/" not in model or "/" in field:
            raise UsageError(f"{where}: {name} names no fact of a model: write models.PROVIDER/NAME.FIELD")
        read_fact(field, "", f"{where}: models.{model}")


def read_file(path: Path) -> dict[str, tuple[Any, int]]:
    """Returns what a file sets, each with its line; nothing when there is no file.

    Raises:
        UsageError: it cannot be read, or holds something else than settings.
    """
    data = _bytes(path)
    if not data.strip():
        return {}
    from yaml import MappingNode, ScalarNode

    found: dict[str, tuple[Any, int]] = {}
    root = _compose(path, data)
    if root is None:
        return {}
    if not isinstance(root, MappingNode):
        _refuse(path, root.start_mark.line, "lines such as 'model: openai/gpt-5-mini' are wanted")
    for key, value in root.value:
        line = key.start_mark.line + 1
        name = str(key.value) if isinstance(key, ScalarNode) else "?"
        where = f"{path}:{line}"
        if name in found:
            raise UsageError(f"{where}: {name} is set a second time: keep one of them")
        if f"{name}." in (MODELS, SERVERS) and isinstance(value, MappingNode):
            found |= _section(path, name, value, found)
            continue
        if not isinstance(value, ScalarNode) or value.tag not in _TAGS:
            parse(name, "", where) if key_of(name) is None else None
            _refuse(path, key.start_mark.line, f"{name} takes one plain value")
        if value.tag.endswith(":null"):
            parse(name, "", where) if key_of(name) is None else None
            continue
        found[name] = (parse(name, value.value, where), line)
    return found


def _section(path: Path, name: str, root: MappingNode, found: Mapping[str, Any]) -> dict[str, tuple[Any, int]]:
    from holdfast.runtime.configuring.sections import fields_of, values_of

    if f"{name}." == SERVERS:
        return {SERVERS + each: told for each, told in values_of(path, name, root).items()}
    lines = fields_of(path, name, root)
    for each, (_, line) in lines.items():
        if each in found:
            raise UsageError(f"{path}:{line}: {each} is set a second time: keep one of them")
    return {each: (parse(each, text, f"{path}:{line}"), line) for each, (text, line) in lines.items()}


def _bytes(path: Path) -> bytes:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe in its place must not hold us up
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}): mend its rights, or remove it") from None
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise UsageError(f"{path}: is no file: remove it")
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise UsageError(f"{path}: is larger than {_LARGEST:,} bytes: settings are a few lines")
    return data


_MEND = "settings are lines such as 'model: openai/gpt-5-mini', so mend that one with an editor"


def _compose(path: Path, data: bytes) -> Any:
    import yaml

    try:
        return yaml.compose(data.decode("utf-8-sig"), yaml.SafeLoader)
    except UnicodeDecodeError as error:
        _refuse(path, data[: error.start].count(b"\n"), "it is no UTF-8 text: save it as that with an editor")
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        _refuse(
            path, mark.line if mark else 0, f"it is no YAML ({getattr(error, 'problem', None) or 'see there'}): {_MEND}"
        )
    except RecursionError:
        _refuse(path, 0, f"it is nested too deeply: {_MEND}")


def _refuse(path: Path, line: int, why: str) -> NoReturn:
    raise UsageError(f"{path}:{line + 1}: {why}")
