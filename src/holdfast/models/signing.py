"""Requests signed as Amazon wants them (signature version 4), with the credentials a machine has.

The library is botocore, an extra (`holdfast[bedrock]`), loaded with the first request that is to be signed. Credentials
are those the environment names, else what botocore's own chain finds: profiles, single sign-on, roles, the machine's.
Looking for them reads files and may ask the network, so it happens in a thread, as does renewing what expires; what is
found is kept and shared by everything that asks for the same profile, until one of these files is another one or a
server does not take it any more.

Not here: which service, address or model; keys that are sent as they are. There is no key where none was found.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any, Final, final

from holdfast.errors import AuthFailed

__all__ = ("INSTALL", "AwsSigner", "is_installed")

INSTALL: Final = "install it with `pip install 'holdfast[bedrock]'`"
_HOW: Final = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or sign in with Amazon's own program"


def is_installed() -> bool:
    """Returns whether requests can be signed here."""
    return importlib.util.find_spec("botocore") is not None


_Files = tuple[tuple[int, int, int] | None, ...]

_LOOKING: Final = Lock()
"""Held while a session is made: those who ask at once share one."""


@functools.lru_cache(maxsize=16)
def _session(profile: str, files: _Files) -> Any:
    """Returns the one session of a profile in files that are as they are; its credentials are looked for when they are
    asked for, and then kept.
    """
    from botocore.session import Session  # noqa: PLC0415 - an extra, and slow to load

    return Session(profile=profile or None)


@final
class AwsSigner:
    """Signs requests of one service."""

    def __init__(self, service: str, env: Mapping[str, str], *, name: str) -> None:
        """Signs for a service with what `env` names first; `name` is who asks, for errors."""
        self._service = service
        self._name = name
        self._profile = env.get("AWS_PROFILE", "").strip()
        self._static = (
            env.get("AWS_ACCESS_KEY_ID", "").strip(),
            env.get("AWS_SECRET_ACCESS_KEY", "").strip(),
            env.get("AWS_SESSION_TOKEN", "").strip() or None,
        )
        self._files = tuple(
            Path(env.get(variable, "").strip() or usual).expanduser()
            for variable, usual in (
                ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
                ("AWS_CONFIG_FILE", "~/.aws/config"),
            )
        )
        self._found: Any = None
        self._found_in: _Files = ()
        """What the files were like when the credentials were looked for."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """What of the credentials no message may show, as far as they are known."""
        return tuple(filter(None, self._static[1:]))

    async def configured(self) -> tuple[str, str]:
        """Returns the region and the address that the profile's file says, each empty where it says nothing.

        Raises:
            AuthFailed: the profile is none, or its file cannot be read.
        """
        return await asyncio.to_thread(self._configured)

    async def headers(self, url: str, body: bytes, headers: Mapping[str, str], region: str) -> dict[str, str]:
        """Returns the headers of a POST together with its signature.

        Raises:
            AuthFailed: there are no credentials, or they cannot be renewed.
        """
        credentials, files = self._found, () if all(self._static[:2]) else _seen(self._files)
        if files != self._found_in:
            credentials, self._found, self._found_in = None, None, files
        if credentials is None or _is_stale(credentials):
            credentials = self._found = await asyncio.to_thread(self._find)
        return self._signed(credentials, url, body, headers, region)

    def forget(self) -> None:
        """Lets go of credentials that were not taken; the next request looks for them again."""
        self._found = None
        _session.cache_clear()

    # ---- with botocore --------------------------------------------------------------------------------------------

    def _find(self) -> Any:
        from botocore.credentials import Credentials  # noqa: PLC0415 - an extra, and slow to load
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        if self._static[0] and self._static[1]:
            return Credentials(*self._static)
        try:
            with _LOOKING:
                found = self._found or _session(self._profile, self._found_in).get_credentials()
            if found is None:
                raise AuthFailed(f"{self._name!r} needs credentials and there are none; {_HOW}")
            found.get_frozen_credentials()  # renews what is about to expire
        except (BotoCoreError, ClientError) as error:
            raise self._unreadable(error) from None
        return found

    def _configured(self) -> tuple[str, str]:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - an extra, and slow to load

        try:
            with _LOOKING:
                session = _session(self._profile, _seen(self._files))
            profile: dict[str, Any] = session.get_scoped_config()
            services: dict[str, Any] = session.full_config.get("services", {})
            region = session.get_config_variable("region")
        except (BotoCoreError, ClientError) as error:
            raise self._unreadable(error) from None
        if str(profile.get("ignore_configured_endpoint_urls", "")).lower() == "true":
            return str(region or ""), ""
        own = services.get(profile.get("services", ""), {}).get("bedrock_runtime", {})
        said = own.get("endpoint_url") if isinstance(own, dict) else None  # type: ignore[reportUnknownMemberType]
        return str(region or ""), str(said or profile.get("endpoint_url") or "")  # type: ignore[reportUnknownArgumentType]

    def _signed(
        self, credentials: Any, url: str, body: bytes, headers: Mapping[str, str], region: str
    ) -> dict[str, str]:
        from botocore.auth import SigV4Auth  # noqa: PLC0415 - loaded by now
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415

        request: Any = AWSRequest("POST", url, dict(headers), body)
        signer: Any = SigV4Auth(credentials.get_frozen_credentials(), self._service, region)
        signer.add_auth(request)
        return dict(request.headers.items())

    def _unreadable(self, error: Exception) -> AuthFailed:
        words = " ".join(str(error).split())[:300]
        return AuthFailed(f"{self._name!r}: the credentials cannot be read ({words}); {_HOW}")


def _seen(files: tuple[Path, ...]) -> _Files:
    """Returns what tells a file from the one that was in its place before; None for none."""
    found: list[tuple[int, int, int] | None] = []
    for file in files:
        try:
            status = file.stat()
        except OSError:
            found.append(None)
        else:
            found.append((status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(found)


def _is_stale(credentials: Any) -> bool:
    """Whether credentials have to be renewed, or will soon: that is asked of the network, so not here."""
    asks = getattr(credentials, "refresh_needed", None)
    return asks is not None and asks()
