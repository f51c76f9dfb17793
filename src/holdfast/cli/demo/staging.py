"""What the demo is played with: a copy of the broken project, and the scripted model."""

from __future__ import annotations

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from holdfast.errors import UsageError
from holdfast.testing.fixtures import load_scripts
from holdfast.testing.scripts import Call, ScriptFunction, ScriptRequest, Turn
from holdfast.types import AssistantMessage

__all__ = ("copy_project", "put_python_first", "scripted")

_HERE = Path(__file__).parent
_AGAIN = "My process died while that command ran, so nobody knows how it ended. Running tests changes nothing: again."


def copy_project(target: Path) -> Path:
    """Returns the folder of a fresh copy of the project, inside `target`.

    Raises:
        UsageError: the project is not where it was installed, or the copy exists.
    """
    sources = (_HERE / "broken-project", _HERE.parents[3] / "examples" / "broken-project")
    source = next((each for each in sources if each.is_dir()), None)
    if source is None:
        raise UsageError("the demo's project is missing from this installation: install holdfast again")
    folder = target / "broken-project"
    if folder.exists():
        raise UsageError(f"{str(folder)!r} exists already: name an empty folder with --keep")
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache", ".ruff_cache"))
    return folder


def put_python_first() -> None:
    """Makes `python` in the agent's shell the one that runs the demo, because that one has pytest.

    Raises:
        UsageError: it has not.
    """
    if find_spec("pytest") is None:
        raise UsageError("the demo runs pytest: install it with  pip install 'holdfast[demo]'")
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"


def scripted() -> ScriptFunction:
    """Returns the script: the next line of the play, or the same command again when its outcome is unknown."""
    turns = load_scripts(_HERE / "script.yaml")
    assert isinstance(turns, (list, tuple))

    def say(request: ScriptRequest) -> Turn | None:
        if request.last_result is not None and request.last_result.startswith("Outcome unknown"):
            last = next(each for each in reversed(request.messages) if isinstance(each, AssistantMessage))
            calls = [Call(name=call.name, arguments=call.arguments) for call in last.calls]
            return Turn(text=_AGAIN, calls=calls)
        said = [each for each in request.messages if isinstance(each, AssistantMessage) and each.text != _AGAIN]
        return turns[len(said)] if len(said) < len(turns) else None

    return say
