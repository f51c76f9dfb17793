"""A target that is an HTTP endpoint: a POST of JSON, with the delivery's id as its idempotency key; signed, where the
endpoint shares a secret with us.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, Literal, final

import msgspec

from holdfast.errors import (
    AddressBlocked,
    DeliveryError,
    DeliveryRefused,
    NetError,
    NotConnected,
    NotDelivered,
    RequestRefused,
    UsageError,
)
from holdfast.net.client import HttpClient
from holdfast.net.hops import checked_url
from holdfast.net.settings import NetSettings
from holdfast.runtime.delivering.port import PROMISES, Delivery, Promise, Target
from holdfast.runtime.delivering.targets.describing import described, enveloped
from holdfast.runtime.delivering.targets.signing import Secrets, headers_for, read_secret
from holdfast.safety.addresses import PUBLIC, TRUSTED

__all__ = ("DATA_BYTES", "Envelope", "WebhookTarget", "connected")

Envelope = Literal["plain", "cloudevents"]
"""What the body is: the delivery itself, or CloudEvents 1.0 in its structured mode around it."""

DATA_BYTES = 16 * 1024 * 1024
"""Attachments of a delivery are sent along as long as they have so many bytes together."""
_SILENCE = 50.0
_AGAIN: Final = frozenset((408, 421, 425, 429))
"""Statuses below 500 that a later attempt may change."""
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OWN: Final = frozenset(
    (
        *("content-type", "idempotency-key", "content-length", "transfer-encoding", "connection", "host"),
        *("webhook-id", "webhook-timestamp", "webhook-signature"),
    )
)


def connected(*, trusted: bool) -> HttpClient:
    """Returns the client of an endpoint, or of many; `trusted` ones may be of this machine, or a private network."""
    return HttpClient(TRUSTED if trusted else PUBLIC, NetSettings(silence_timeout=_SILENCE))


@final
class WebhookTarget(Target):
    """Posts results to a URL."""

    def __init__(  # noqa: PLR0913 - an endpoint has so many sides, and each has its default
        self,
        url: str,
        promise: Promise = "at-least-once",
        *,
        headers: Mapping[str, str] | None = None,
        check: str = "",
        settles: float = 5.0,
        trusted: bool = True,
        data_bytes: int = DATA_BYTES,
        envelope: Envelope = "plain",
        secrets: Secrets = (),
        client: HttpClient | None = None,
    ) -> None:
        """Takes an endpoint for a target.

        Args:
            url: Where results go, http or https. Redirects are not followed.
            promise: What the endpoint does with an `Idempotency-Key` that it has seen before.
            headers: Sent along, for example `Authorization`; they are in no log.
            check: Of a `checkable` one, the URL that says whether an id arrived: `{id}` in it is replaced, 2xx means
                that it did, and 404 that it did not.
            settles: Of a `checkable` one, seconds after which an attempt that was cut off can arrive no more.
            trusted: Whether addresses of this machine and its private networks may be reached, too.
            data_bytes: Attachments go along as long as they have so many bytes together; of larger ones only names,
                sizes and digests.
            envelope: Whether CloudEvents 1.0 is around it.
            secrets: What the endpoint knows us by, each `whsec_` and base64: it is signed with every one of them, as
                Standard Webhooks says, so that one can be changed for another.
            client: Whose connections it uses, and leaves open; it has its own without.

        Raises:
            UsageError: one of these cannot be so.
        """
        if promise not in PROMISES:
            raise UsageError(f"{promise!r} is no promise: write one of {', '.join(map(repr, PROMISES))}")
        if (promise == "checkable") != ("{id}" in check):
            raise UsageError(
                "an endpoint that is 'checkable' has a URL to check with `{id}` in it, and no other one has"
            )
        _check_headers(headers or {})
        try:
            self._origin = str(checked_url(url).origin())
        except RequestRefused as error:
            raise UsageError(f"the endpoint is no URL that is sent to: {error}") from error
        self._url = url
        self._check = check
        self._promise: Promise = promise
        self._settles = settles
        self._headers = dict(headers or {})
        self._data_bytes = data_bytes
        if isinstance(secrets, str) or envelope not in ("plain", "cloudevents"):
            raise UsageError("secrets is a list, and an envelope is 'plain' or 'cloudevents': write it so")
        if not callable(secrets):
            for each in secrets:
                read_secret(each)
        self._envelope, self._secrets = envelope, secrets
        self._own = client is None
        self._client = client or connected(trusted=trusted)

    @property
    def promise(self) -> Promise:
        """What the endpoint does with an id that it has seen before."""
        return self._promise

    @property
    def settles(self) -> float:
        """Seconds after which an attempt that was cut off can arrive no more."""
        return self._settles

    async def deliver(self, delivery: Delivery) -> None:
        """Returns when the endpoint answered with 2xx.

        Raises:
            DeliveryRefused: it answered that the request is wrong, or may not be reached.
            NotDelivered: nobody was there, or it has no room at the moment.
            DeliveryError: it failed, or its answer never came.
        """
        now = int(time.time())
        body = await self._body(delivery, now)
        secrets = self._secrets(delivery.tenant) if callable(self._secrets) else self._secrets
        headers = {
            **self._headers,
            "Content-Type": "application/json" if self._envelope == "plain" else "application/cloudevents+json",
            "Idempotency-Key": delivery.id,
            **headers_for(secrets, delivery.id, body, now),
        }
        status, after = await self._exchange("POST", self._url, body, headers)
        if 200 <= status < 300:
            return
        what = f"{self._origin!r} answered with status {status}"
        if status < 500 and status not in _AGAIN:
            raise DeliveryRefused(f"{what}: look at what it expects, and where it is")
        if status == 429:
            raise NotDelivered(what, retry_after=after)
        raise DeliveryError(what, retry_after=after)

    async def delivered(self, id: str) -> bool:
        """Returns what the endpoint says of an id.

        Raises:
            DeliveryError: it does not say.
        """
        status, after = await self._exchange("GET", self._check.replace("{id}", id), None, self._headers)
        if 200 <= status < 300 or status == 404:
            return status != 404
        raise DeliveryError(f"{self._origin!r} was asked and answered with status {status}", retry_after=after)

    async def close(self) -> None:
        """Closes its own connections."""
        if self._own:
            await self._client.close()

    async def _body(self, delivery: Delivery, now: int) -> bytes:
        data: dict[str, bytes] = {}
        if sum(each.size for each in delivery.attachments) <= self._data_bytes:
            try:
                data = {each.name: await each.read() for each in delivery.attachments}
            except KeyError as error:
                raise DeliveryRefused(f"an attachment is not kept any more: {error}") from error
        told = described(delivery, data)
        return msgspec.json.encode(told if self._envelope == "plain" else enveloped(told, delivery.tenant, now))

    async def _exchange(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, float | None]:
        """Returns the status, and the seconds that the other side asks to be left alone."""
        try:
            async with self._client.request(method, url, body, headers) as answer:
                with suppress(NetError):  # so that the connection is used again
                    await answer.body(64 * 1024)
                return answer.status, _seconds(answer.headers.get("Retry-After", ""))
        except (AddressBlocked, RequestRefused) as error:
            step = "register it by name, with Runtime.open(targets={...}), if you trust it"
            raise DeliveryRefused(f"{error}; {step}") from error
        except NotConnected as error:
            raise NotDelivered(str(error)) from error
        except NetError as error:
            raise DeliveryError(str(error)) from error


def _seconds(text: str) -> float | None:
    return float(text) if text.isascii() and text.isdigit() and len(text) < 7 else None


def _check_headers(headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if not _HEADER.fullmatch(name) or re.search(r"[\r\n\0]", value) or name.lower() in _OWN:
            raise UsageError(f"{name!r} is no header for an endpoint: it, or its value, would change the request")
