"""What is around each call of a tool that stands elsewhere: its credentials and its attempts.

    credentials -> one attempt within its time -> perhaps once more -> the result

A call that is cancelled is over for us at once; what the other side makes of it is its own business, and the log has it
as a call that may have acted.
"""

from __future__ import annotations

import asyncio
import inspect
from typing import Any, Final, final

import msgspec

from holdfast.safety.redacting import Redactor
from holdfast.safety.secrets.chain import Secrets
from holdfast.tools.access.applying import Authenticator, Credential
from holdfast.tools.binding import Tool, ToolContext, ToolFailure
from holdfast.tools.contract.messages import Asked, AuthNote, Limits, Request
from holdfast.tools.contract.taxonomy import fault_of
from holdfast.tools.elsewhere.attempting import Attempts, delay_before, may_repeat
from holdfast.tools.schema.pydantic_models import encode_model
from holdfast.tools.transports.port import MOST, Errand, Transport, Unsent
from holdfast.types import ToolResult, ToolSpec, Wait, session_of, tenant_of

__all__ = ("Elsewhere", "Standing", "Whereabouts", "whereabouts")

_NO_SECRETS = Secrets((), Redactor())
_ASKED: Final = ("http", "external", "webhook-callback", "grpc")
"""Kinds whose requests can carry credentials to somebody else."""
_REFUSED: Final = ("auth_invalid", "auth_forbidden", "auth_expired")


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a tool was declared to be reached, whatever makes its calls."""

    kind: str
    isolation: str


class Whereabouts(msgspec.Struct, frozen=True, kw_only=True):
    """Where a tool stands and how it is called, for people; names of secrets and no values."""

    transport: str
    place: str
    private: bool
    """Whether addresses of this machine and its networks may be dialled for it."""
    isolation: str
    auth: str
    """The profile; empty where its requests carry no credentials."""
    secret: str
    secrets: tuple[str, ...]
    """Those that a program it starts is handed."""
    timeout: float
    """Seconds of one attempt."""
    attempts: int


def whereabouts(tool: Tool) -> Whereabouts | None:
    """Returns where a tool stands; None of one that is a function of this program."""
    calls: object = tool.run.__self__ if inspect.ismethod(tool.run) else None
    return calls.whereabouts if isinstance(calls, Elsewhere) else None


@final
class Elsewhere:
    """The calls of one tool."""

    def __init__(
        self,
        spec: ToolSpec,
        transport: Transport,
        attempts: Attempts,
        authenticator: Authenticator | None = None,
        auth: AuthNote | None = None,
        most: int = MOST,
        standing: Standing | None = None,
    ) -> None:
        self._spec = spec
        self._transport = transport
        self._attempts = attempts
        self._authenticator = authenticator
        self._auth = auth or AuthNote()
        self._most = most
        self._standing = standing or Standing(kind=transport.kind, isolation="none")

    @property
    def whereabouts(self) -> Whereabouts:
        """Where it stands and how it is called."""
        return Whereabouts(
            transport=self._standing.kind,
            place=self._transport.place,
            private=self._transport.private,
            isolation=self._standing.isolation,
            auth=self._auth.profile,
            secret=self._auth.secret_ref,
            secrets=self._transport.secrets,
            timeout=self._attempts.timeout,
            attempts=self._attempts.most,
        )

    async def run(self, arguments: Any, context: ToolContext) -> ToolResult | Wait:
        """Returns what a call came to, without the secrets that it was authenticated with."""
        outcome = await self._called(arguments, context)
        if self._authenticator is None or context.secrets is None or not isinstance(outcome, ToolResult):
            return outcome
        redactor = context.secrets.redactor
        return msgspec.structs.replace(
            outcome, content=redactor.hide(outcome.content), metadata=redactor.hide_data(outcome.metadata)
        )

    async def close(self) -> None:
        """Lets go of what is kept open for it in the running event loop; a later call opens it again."""
        await self._transport.close()
        if self._authenticator is not None:
            await self._authenticator.close()

    async def _called(self, arguments: Any, context: ToolContext) -> ToolResult | Wait:
        data = msgspec.json.encode(arguments, enc_hook=encode_model)
        attempt = 1
        while True:
            outcome, sent = await self._once(data, attempt, context)
            if isinstance(outcome, Wait) or attempt >= self._attempts.most:
                return outcome
            if not may_repeat(self._spec.effect, outcome.error, sent=sent):
                return outcome
            attempt += 1
            await context.sleep(delay_before(self._attempts, self._spec.name, attempt))

    async def _once(self, data: bytes, attempt: int, context: ToolContext) -> tuple[ToolResult | Wait, bool]:
        """Returns what one attempt came to, and whether it reached the other side."""
        scope = asyncio.timeout(self._attempts.timeout)
        try:
            async with scope:
                return await self._authenticated(self._request(data, attempt, context), context), True
        except Unsent as error:
            return error.result, False
        except TimeoutError:
            if not scope.expired():
                raise
            text = f"{self._spec.name!r} did not answer within {self._attempts.timeout:g} s, and was not waited for."
            return ToolResult(text, fault_of("timeout")), True
        except ToolFailure as error:
            return self._named(ToolResult(str(error), fault_of(error.code), dict(error.metadata))), True

    async def _authenticated(self, request: Request, context: ToolContext) -> ToolResult | Wait:
        if self._authenticator is None:
            return self._named(await self._send(request, None, context))
        secrets = context.secrets or _NO_SECRETS
        try:
            credential = await self._authenticator.credential(secrets)
        except ToolFailure as error:  # nothing went to the tool
            raise Unsent(ToolResult(str(error), fault_of(error.code), dict(error.metadata))) from None
        outcome = await self._send(request, credential, context)
        if isinstance(outcome, ToolResult) and outcome.error is not None and outcome.error.code == "auth_invalid":
            other = await self._authenticator.credential(secrets, refused=credential)
            if other is not None:
                outcome = await self._send(request, other, context)
        return self._named(outcome)

    def _named(self, outcome: ToolResult | Wait) -> ToolResult | Wait:
        """Returns what a call came to; where it was refused for its credentials, with the name of what it was sent."""
        if not isinstance(outcome, ToolResult) or outcome.error is None or outcome.error.code not in _REFUSED:
            return outcome
        if self._authenticator is None and self._transport.kind not in _ASKED:
            return outcome
        profile, secret = self._auth.profile, self._auth.secret_ref
        sent = f"with the secret {secret!r} ({profile})" if self._authenticator else "without credentials"
        return msgspec.structs.replace(outcome, content=f"Sent {sent}, {outcome.content}")

    async def _send(self, request: Request, credential: Credential | None, context: ToolContext) -> ToolResult | Wait:
        headers = {} if credential is None else {credential.header: credential.value}
        return await self._transport.send(Errand(request=request, headers=headers, context=context, most=self._most))

    def _request(self, data: bytes, attempt: int, context: ToolContext) -> Request:
        attempts = self._attempts
        return Request(
            request_id=context.key,
            task_id=session_of(context.stream),
            namespace=tenant_of(context.stream),
            agent=context.agent,
            tool=Asked(
                name=self._spec.name,
                capabilities=self._spec.governance.capabilities,
                risk_level=self._spec.governance.risk,
            ),
            input=msgspec.json.decode(data, type=dict[str, Any]),
            input_raw=data.decode(),
            runtime=Limits(
                mode=self._transport.kind,
                timeout_ms=int(attempts.timeout * 1000),
                max_attempts=attempts.most,
                backoff=f"{attempts.backoff:g}s",
                max_backoff_ms=int(attempts.max_backoff * 1000),
                jitter=attempts.jitter != "none",
            ),
            auth=self._auth,
            attempt=attempt,
        )
