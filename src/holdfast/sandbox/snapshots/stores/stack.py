"""Which layers each workspace is made of, on disk: states, layers, and what refers to them.

    states/<key>.json   a workspace: its base, frozen layers, and the layer that is written to
    bases/<key>         the base, mounted here too, since the workspace's own mount hides it
    layers/<name>       frozen, or being written to
    work/<name>         the kernel's own, beside each layer that is written to
    refs/<digest>.json  the layers of a snapshot

A state is written before the mount that it describes; whatever is mounted and is not what the state says is mounted
anew. So it does not matter where a process was killed.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from holdfast.errors import SandboxError
from holdfast.sandbox.snapshots.stores.layers import is_empty, merge
from holdfast.sandbox.snapshots.stores.mounting import bind, mount_overlay, mounted, unmount
from holdfast.types import Digest

__all__ = ("Layers", "Stack", "why_not")

_DEEP = 16
"""Frozen layers that lie over each other before they are merged: each makes looking up a name slower."""
_MARK = "holdfast-"


class Layers(msgspec.Struct, frozen=True, gc=False):
    """What a snapshot is made of; this is its manifest."""

    v: int
    base: str
    """The folder below all layers."""
    names: tuple[str, ...]
    """Frozen layers, the topmost first."""
    mode: int
    """Of the workspace itself."""


class _State(msgspec.Struct, frozen=True, gc=False):
    base: str
    names: tuple[str, ...]
    upper: str
    mode: int
    """Of the upper layer when it was new."""


class Stack:
    """The layers in one folder; every call may be made again after it was cut off."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._space = ""

    @contextmanager
    def locked(self) -> Generator[None, None, None]:
        """Keeps other processes from the folder meanwhile."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("states", "bases", "layers", "work", "refs", "views", "layers/.empty"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def attach(self, root: str) -> _State:
        """Returns the workspace's state, and mounts it as the state says.

        Raises:
            SandboxError: something else uses it.
        """
        state = self._read(root)
        if state is None:
            return self._mount(root, _State(root, (), _new_name(), _mode_of(root)))
        now = mounted(root)
        if now == f"{_MARK}{state.upper}":
            return state
        if now is None and (self._layer(state.upper)).exists():
            # The machine went down, or the process before the mount: what was being written to is frozen as it is.
            state = self._frozen(state)
        return self._mount(root, state)

    def freeze(self, root: str) -> Layers:
        """Returns the layers that make the workspace as it is; what is written from now on is in none of them.

        Raises:
            SandboxError: something else uses the workspace.
        """
        state = self.attach(root)
        upper = str(self._layer(state.upper))
        mode = _mode_of(upper)
        if not is_empty(upper) or mode != state.mode:
            state = self._mount(root, self._frozen(state))
        return Layers(1, state.base, state.names, mode)

    def reset(self, root: str, layers: Layers) -> None:
        """Makes the workspace what the layers say; what was written since the last freeze is gone.

        Raises:
            SandboxError: a layer is gone, or something else uses the workspace.
        """
        self._check(layers)
        state = self.attach(root)
        if state.base != layers.base:
            raise SandboxError(
                f"the snapshot is of files over {layers.base!r}, but the workspace {root!r} lies over {state.base!r}: "
                "clone it into an empty folder instead"
            )
        self._mount(root, _State(layers.base, layers.names, _new_name(), layers.mode))
        self._discard(state.upper)

    def start(self, root: str, layers: Layers) -> None:
        """Makes an empty folder a workspace of these layers.

        Raises:
            SandboxError: it holds something, or a layer is gone.
        """
        self._check(layers)
        state = self._read(root)
        if state is None:
            if not is_empty(root):
                raise SandboxError(f"the folder {root!r} is not empty: a clone needs an empty folder")
            self._mount(root, _State(layers.base, layers.names, _new_name(), layers.mode))
            return
        state = self.attach(root)
        upper = self._layer(state.upper)
        if (state.base, state.names) != (layers.base, layers.names) or not is_empty(str(upper)):
            raise SandboxError(f"the folder {root!r} is a workspace already: a clone needs an empty folder")

    @contextmanager
    def view(self, layers: Layers, root: str) -> Generator[str, None, None]:
        """Shows what layers make, read-only, at a place of its own; `root` is a workspace over the same base.

        Raises:
            SandboxError: a layer is gone.
        """
        self._check(layers)
        with self.locked():
            base = self._base(root, layers.base)
            place = self._folder / "views" / secrets.token_hex(8)
            place.mkdir()
            lowers = [*(str(self._layer(name)) for name in layers.names), str(self._layer(".empty")), base]
            self._show("holdfast-view", str(place), lowers, "", "")
        try:
            yield str(place)
        finally:
            unmount(str(place), lazily=True)  # it is only read
            place.rmdir()

    def remember(self, ref: Digest, layers: Layers) -> None:
        """Keeps the layers until `forget`."""
        _write(self._ref(ref), msgspec.json.encode(layers))

    def forget(self, ref: Digest) -> None:
        """Lets go of a snapshot, and of the layers nobody else needs."""
        self._ref(ref).unlink(missing_ok=True)
        self._collect()

    def release(self, root: str) -> None:
        """Makes the workspace what it was before it was one: what changed since is only in its snapshots.

        Raises:
            SandboxError: something else uses it.
        """
        state = self._read(root)
        if state is None:
            return
        self._unmount(root)
        with suppress(OSError):
            unmount(str(self._own_base(root)))
            self._own_base(root).rmdir()
        self._state(root).unlink(missing_ok=True)
        self._discard(state.upper)  # what is being written to is nobody else's
        self._let_go({*state.names})

    def _frozen(self, state: _State) -> _State:
        """The state with its upper layer frozen, and a fresh one."""
        upper = self._layer(state.upper)
        names = (state.upper, *state.names)
        if len(names) > _DEEP:
            names = (self._merged(names),)
        return _State(state.base, names, _new_name(), _mode_of(str(upper)))

    def _merged(self, names: tuple[str, ...]) -> str:
        name = _new_name()
        half = self._layer(f".{name}")
        half.mkdir()
        merge([str(self._layer(each)) for each in names], str(half), self._marks())
        half.rename(self._layer(name))
        return name

    def _mount(self, root: str, state: _State) -> _State:
        for place in (self._layer(state.upper), self._work(state.upper)):
            place.mkdir(exist_ok=True)
        source = (self._layer(state.names[0]) if state.names else Path(root)).stat()
        upper = self._layer(state.upper)
        if os.geteuid() == 0:
            os.chown(upper, source.st_uid, source.st_gid)
        upper.chmod(state.mode)
        _write(self._state(root), msgspec.json.encode(state))
        self._unmount(root)
        base = self._base(root, state.base)
        lowers = [*(str(self._layer(name)) for name in state.names), base]
        self._show(f"{_MARK}{state.upper}", root, lowers, str(upper), str(self._work(state.upper)))
        return state

    def _show(self, name: str, target: str, lowers: list[str], upper: str, work: str) -> None:
        try:
            mount_overlay(name, target, lowers, upper, work, "userxattr" if self._marks() == "user" else "")
        except OSError as error:
            raise SandboxError(
                f"the layers of {target!r} cannot be mounted: {error.strerror}. `holdfast doctor` says what is missing"
            ) from error

    def _marks(self) -> str:
        """Where the kernel keeps its marks: in `user` attributes where we are root in a namespace of our own only."""
        if not self._space:
            whole = Path("/proc/self/uid_map").read_text("ascii").split() == ["0", "0", "4294967295"]
            self._space = "trusted" if whole else "user"
        return self._space

    def _base(self, root: str, base: str) -> str:
        """Where the base can be seen though the workspace's mount hides it."""
        own, other = self._own_base(root), self._own_base(base)
        if not own.is_dir() or mounted(str(own)) is None:
            if other != own and other.is_dir() and mounted(str(other)) is not None:
                return str(other)  # a mount over it outlives this view of it
            own.mkdir(exist_ok=True)
            hidden = (mounted(base) or "").startswith(_MARK)
            if hidden and mounted(str(other)) is None:
                raise SandboxError(f"the files below the mount of {base!r} cannot be reached: unmount it and try again")
            bind(str(other) if hidden else base, str(own))
        return str(own)

    def _unmount(self, root: str) -> None:
        while os.path.ismount(root) and (mounted(root) or "").startswith(_MARK):
            try:
                unmount(root)
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise SandboxError(f"the workspace {root!r} cannot be unmounted: {error.strerror}") from error
                raise SandboxError(
                    f"the workspace {root!r} is in use: end what runs in it, close its files, and leave the folder"
                ) from None

    def _check(self, layers: Layers) -> None:
        for name in layers.names:
            if not self._layer(name).is_dir():
                raise SandboxError(f"the snapshot's layer {name!r} is not in the store: it cannot be restored")

    def _let_go(self, names: set[str]) -> None:
        """Removes those of the layers that neither a workspace nor a snapshot is made of; branches are of the same."""
        for folder, kind in (("states", _State), ("refs", Layers)):
            for file in (self._folder / folder).glob("*.json") if names else ():
                names -= {*msgspec.json.decode(file.read_bytes(), type=kind).names}
                if not names:
                    return
        for name in names:
            self._discard(name)

    def _collect(self) -> None:
        """Removes the layers that neither a workspace nor a snapshot is made of."""
        needed = {".empty"}
        for file in (self._folder / "states").glob("*.json"):
            state = msgspec.json.decode(file.read_bytes(), type=_State)
            needed |= {state.upper, *state.names}
        for file in (self._folder / "refs").glob("*.json"):
            needed |= {*msgspec.json.decode(file.read_bytes(), type=Layers).names}
        for layer in (self._folder / "layers").iterdir():
            if layer.name not in needed:
                self._discard(layer.name)

    def _discard(self, name: str) -> None:
        for place in (self._layer(name), self._work(name)):
            shutil.rmtree(place, ignore_errors=True)

    def _read(self, root: str) -> _State | None:
        try:
            return msgspec.json.decode(self._state(root).read_bytes(), type=_State)
        except FileNotFoundError:
            return None

    def _state(self, root: str) -> Path:
        return self._folder / "states" / f"{_key(root)}.json"

    def _own_base(self, root: str) -> Path:
        return self._folder / "bases" / _key(root)

    def _layer(self, name: str) -> Path:
        return self._folder / "layers" / name

    def _work(self, name: str) -> Path:
        return self._folder / "work" / name

    def _ref(self, ref: Digest) -> Path:
        return self._folder / "refs" / f"{ref.rpartition(':')[2]}.json"


def why_not(folder: Path) -> str | None:
    """Returns why layers cannot be kept in a folder; None when they can. It tries, and leaves nothing behind."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial = Path(tempfile.mkdtemp(prefix=".probe-", dir=folder))
    except OSError as error:
        return f"the folder {str(folder)!r} cannot be written: {error.strerror}"
    place = trial / "workspace"
    place.mkdir()
    stack = Stack(trial / "layers")
    try:
        with stack.locked():
            stack.attach(str(place))
            (place / "file").write_bytes(b"")
            stack.freeze(str(place))
            (place / "file").unlink()
            stack.release(str(place))
    except SandboxError as error:
        return str(error)
    except (OSError, AttributeError) as error:  # the second: another system than Linux
        return f"overlays cannot be mounted here: {error}"
    finally:
        with suppress(OSError, SandboxError, AttributeError):
            stack.release(str(place))
        shutil.rmtree(trial, ignore_errors=True)
    return None


def _write(path: Path, data: bytes) -> None:
    half = path.with_suffix(".half")
    half.write_bytes(data)
    half.rename(path)


def _key(root: str) -> str:
    return hashlib.sha256(os.fsencode(root)).hexdigest()[:24]


def _new_name() -> str:
    return secrets.token_hex(8)


def _mode_of(path: str) -> int:
    return stat.S_IMODE(Path(path).stat().st_mode)
