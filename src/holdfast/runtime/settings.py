"""What a person set for their runs, and where each value comes from.

The order is: a flag (the surface's business), the environment, the project's file, the user's file, the default.

A project's file may have come with somebody else's repository, so it can only make things stricter: it names no
store and no model, and a mode or a limit of its own counts only where it lies below what would hold without it. What
is passed over for that reason is said in `Settings.notes`. Only plain values are read from a file, never more than
64 KiB of it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, NoReturn, cast, final

import msgspec

from holdfast.errors import UsageError
from holdfast.types import MODES, Limits, Mode

__all__ = ("KEYS", "Key", "Setting", "Settings", "load_settings", "parse", "project_file", "read_file", "user_file")

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


def _words(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("some words on one line are wanted")
    return text.strip()


def _model(text: str) -> str:
    provider, _, name = text.strip().partition("/")
    if not provider or not name or not text.isprintable():
        raise ValueError("a provider and a model are wanted, as in 'openai/gpt-5-mini'")
    return text.strip()


def _one_of(*names: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in names:
            near = get_close_matches(text, names, n=1)
            raise ValueError(f"did you mean {near[0]!r}?" if near else f"one of {', '.join(names)} is wanted")
        return text

    return read


def _truth(text: str) -> bool:
    truths = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    if text.lower() not in truths:
        raise ValueError("true or false is wanted")
    return truths[text.lower()]


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 15 or int(text) < 1:
        raise ValueError("a whole number from 1 is wanted")
    return int(text)


def _amount(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e12:
        raise ValueError("a number over 0 is wanted")
    return number


_LIMITS = {"max_steps": "steps", "max_tokens": "tokens", "max_dollars": "dollars", "max_seconds": "seconds"}
_ALL = (
    Key("model", "The model of a run, as provider/name. Not in a project's file.", _model, "openai/gpt-5-mini"),
    Key("store", "Where the log is kept. Not in a project's file.", _words),
    Key("mode", f"What runs without a question: {', '.join(MODES)}.", _one_of(*MODES), "accept-edits"),
    Key("sandbox", "What commands run in: a sandbox's name or a profile's file. Not in a project's.", _words, "auto"),
    Key("max_steps", "Model calls of a run.", _whole, Limits().steps),
    Key("max_tokens", "Tokens of a run, in and out together.", _whole),
    Key("max_dollars", "What the model may cost in a run.", _amount),
    Key("max_seconds", "Wall time of a run.", _amount),
    Key("plain", "No colours and no line that moves.", _truth, False),
    Key("theme", "Colours of code for a dark or a light terminal.", _one_of("dark", "light"), "dark"),
)
KEYS: Mapping[str, Key] = {key.name: key for key in _ALL}
"""Everything that can be set, by its name."""


class Setting(msgspec.Struct, frozen=True):
    """A value and where it comes from."""

    key: str
    value: str | int | float | bool | None
    """None where nothing is set and there is no default: no bound, or the data folder."""
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
            reason = _too_loose(setting, values[name])
            if not reason:
                values[name] = setting
            elif not env.get(KEYS[name].variable):
                notes.append(f"{setting.where}: {name} is passed over: {reason}")
    for key in _ALL:
        if text := env.get(key.variable):
            values[key.name] = Setting(key.name, parse(key.name, text, key.variable), "environment", key.variable)
    return Settings(values, tuple(notes))


def _settings(path: Path, source: Source) -> dict[str, Setting]:
    found = read_file(path)
    return {name: Setting(name, value, source, f"{path}:{line}") for name, (value, line) in found.items()}


def _too_loose(given: Setting, otherwise: Setting) -> str:
    """Why a project may not say this; empty when it may."""
    if given.key == "store":
        return "a project does not choose where your logs are kept"
    ours, theirs = otherwise.value, given.value
    if given.key == "sandbox":
        return "a project does not choose what keeps its commands in"
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
    if name not in KEYS:
        near = get_close_matches(name, KEYS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(KEYS)}"
        raise UsageError(f"{where}: there is no setting {name!r}: {hint}")
    try:
        return KEYS[name].read(text)
    except ValueError as error:
        shown = text if len(text) <= 80 else f"{text[:79]}…"
        raise UsageError(f"{where}: {name} cannot be {shown!r}: {error}") from None


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
        if not isinstance(value, ScalarNode) or value.tag not in _TAGS:
            parse(name, "", where) if name not in KEYS else None
            _refuse(path, key.start_mark.line, f"{name} takes one plain value")
        if value.tag.endswith(":null"):
            parse(name, "", where) if name not in KEYS else None
            continue
        found[name] = (parse(name, value.value, where), line)
    return found


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


def _compose(path: Path, data: bytes) -> Any:
    import yaml

    try:
        return yaml.compose(data.decode("utf-8-sig"), yaml.SafeLoader)
    except UnicodeDecodeError as error:
        _refuse(path, data[: error.start].count(b"\n"), "it is no UTF-8 text")
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        _refuse(path, mark.line if mark else 0, f"it is no YAML ({getattr(error, 'problem', None) or 'see there'})")
    except RecursionError:
        _refuse(path, 0, "it is nested too deeply")


def _refuse(path: Path, line: int, why: str) -> NoReturn:
    raise UsageError(f"{path}:{line + 1}: {why}")
