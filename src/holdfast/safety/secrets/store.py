"""Secrets in a file of our own, encrypted: each value with AES-256-GCM, bound to its name.

Whoever has the file and not the key learns the names, and how long the values are. A value that was moved to another
name, or changed, is refused. The key is 32 bytes, in `HOLDFAST_SECRETS_KEY` as base64 or in a file beside the store
that only its owner may read; the first value that is set makes it.

Several processes may set values at once: each reads the file, changes it and puts it in its place under a lock.
"""

from __future__ import annotations

import base64
import fcntl
import os
import secrets
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

import msgspec

from holdfast.errors import StorageDamaged, UsageError
from holdfast.safety.secrets.port import Reference, Resolver

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ("KEY", "StoredSecrets")

KEY: Final = "HOLDFAST_SECRETS_KEY"
_NONCE = 12
_KEY_BYTES = 32


class _File(msgspec.Struct):
    version: int = 1
    values: dict[str, bytes] = {}
    """By their names: a nonce, and what it was encrypted to."""


@final
class StoredSecrets(Resolver):
    """The encrypted secrets in one file."""

    def __init__(self, path: str | Path, *, key: bytes | None = None) -> None:
        """Uses this key of 32 bytes, or else that of the environment, or of the file `<path>.key`."""
        self._path = Path(path)
        self._given = key

    async def resolve(self, reference: Reference) -> str | None:
        """Returns a secret's value; None when it is not in the file.

        Raises:
            UsageError: there is no key, or another one.
            StorageDamaged: the file is none of ours.
        """
        sealed = self._read().values.get(_name(reference))
        return None if sealed is None else self._open(reference, sealed)

    def set(self, reference: Reference, value: str) -> None:
        """Keeps a value, in the place of an earlier one.

        Raises:
            UsageError: the value is empty or no text, or the key is not the one that the other values were encrypted
                with.
        """
        if not value:
            raise UsageError(f"a secret has a value: give {str(reference)!r} one, or remove it")
        try:
            data = value.encode()
        except UnicodeEncodeError:
            raise UsageError(f"the value of {str(reference)!r} is no text: encode it, for example as base64") from None
        with self._locked() as held:
            name = _name(reference)
            self._check_key({other: sealed for other, sealed in held.values.items() if other != name})
            nonce = secrets.token_bytes(_NONCE)
            # A key is made for the first value, and for one that is set again without any other.
            held.values[name] = nonce + self._cipher(make=True).encrypt(nonce, data, name.encode())
            _put(self._path, msgspec.json.encode(held))

    def remove(self, reference: Reference) -> bool:
        """Forgets a value, and returns whether there was one."""
        with self._locked() as held:
            if held.values.pop(_name(reference), None) is None:
                return False
            _put(self._path, msgspec.json.encode(held))
            return True

    def references(self) -> list[Reference]:
        """Returns what there is a value of, sorted."""
        return [_reference(name) for name in sorted(self._read().values)]

    # ---- the key --------------------------------------------------------------------------------------------

    def _cipher(self, *, make: bool = False) -> AESGCM:
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise UsageError("encrypted secrets need a library: pip install 'holdfast[secrets]'") from error
        return AESGCM(self._given or self._key(make=make))

    def _key(self, *, make: bool) -> bytes:
        if told := os.environ.get(KEY):
            return _decoded(told, f"the variable {KEY}")
        path = self._path.with_name(f"{self._path.name}.key")
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            if not make:
                raise UsageError(
                    f"there is no key for {str(self._path)!r}: set {KEY}, or bring {str(path)!r}"
                ) from None
            return _made(path)
        except OSError as error:
            raise UsageError(
                f"the key {str(path)!r} cannot be read ({error.strerror}): bring the file itself"
            ) from None
        with os.fdopen(file, "rb") as opened:
            if os.fstat(opened.fileno()).st_mode & 0o077:
                raise UsageError(f"others may read the key {str(path)!r}: take that right from them (chmod go=)")
            return _decoded(opened.read(200).decode("ascii", "replace"), f"the file {str(path)!r}")

    def _check_key(self, values: Mapping[str, bytes]) -> None:
        """Returns when there are no values, or the key opens one of them: the others may be damaged."""
        for number, (name, sealed) in enumerate(values.items(), 1):
            try:
                self._open_named(name, sealed)
                return
            except UsageError:
                if number == len(values):
                    raise

    def _open(self, reference: Reference, sealed: bytes) -> str:
        return self._open_named(_name(reference), sealed)

    def _open_named(self, name: str, sealed: bytes) -> str:
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - an extra

        cipher = self._cipher()
        try:
            return cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], name.encode()).decode()
        except (InvalidTag, ValueError) as error:
            raise UsageError(
                f"the secret {name!r} cannot be decrypted: the key is not the one it was set with, or the file "
                f"{str(self._path)!r} was changed; bring that key, or remove the secret and set it again"
            ) from error

    # ---- the file -------------------------------------------------------------------------------------------

    def _read(self) -> _File:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return _File()
        except OSError as error:
            raise UsageError(
                f"{str(self._path)!r} cannot be read ({error.strerror}): make it a file of yours"
            ) from None
        try:
            held = msgspec.json.decode(data, type=_File)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise StorageDamaged(f"{str(self._path)!r} holds no secrets of ours ({error}): restore it") from error
        if held.version != 1:
            raise UsageError(f"{str(self._path)!r} was written by a later version: use that one")
        return held

    @contextmanager
    def _locked(self) -> Generator[_File]:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self._path.with_name(f"{self._path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self._read()
        finally:
            os.close(lock)


def _name(reference: Reference) -> str:
    return f"{reference.namespace}/{reference.name}:{reference.key}"


def _reference(name: str) -> Reference:
    space, _, rest = name.partition("/")
    secret, _, key = rest.partition(":")
    return Reference(secret, key, space)


def _decoded(text: str, where: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise UsageError(f"{where} holds no key: 32 bytes as base64, such as `openssl rand -base64 32` gives")
    return key


def _made(path: Path) -> bytes:
    key = secrets.token_bytes(_KEY_BYTES)
    _put(path, base64.b64encode(key) + b"\n")
    return key


def _put(path: Path, data: bytes) -> None:
    """Puts a file in its place, whole or not at all; under the lock."""
    written = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        written.replace(path)
    except BaseException:
        with suppress(OSError):
            written.unlink()
        raise
