"""From what a manifest says to a tool, and what is wrong with it, each thing with its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, cast, final

import msgspec

from holdfast.errors import UsageError
from holdfast.sandbox.modules.port import ModuleLimits
from holdfast.sandbox.policy.reading.decoding import Place
from holdfast.sandbox.policy.reading.quantities import duration_of, size_of
from holdfast.tools.access.profiles import ApiKeyHeader, Auth, Basic, Bearer, OAuth2
from holdfast.tools.binding import Tool
from holdfast.tools.elsewhere.attempting import Attempts
from holdfast.tools.elsewhere.declaring import standing_at
from holdfast.tools.elsewhere.manifests.drafts import (
    SECTIONS,
    AuthDraft,
    CallbackDraft,
    CliDraft,
    ContainerDraft,
    EnvFromDraft,
    GrpcDraft,
    Manifest,
    ResourcesDraft,
    WasmDraft,
)
from holdfast.tools.schema.fitting import misfit
from holdfast.tools.transports.callback import Callback
from holdfast.tools.transports.cli import Cli
from holdfast.tools.transports.commands.resources import Resources
from holdfast.tools.transports.commands.running import Command, EnvFrom
from holdfast.tools.transports.container import Container
from holdfast.tools.transports.external import External
from holdfast.tools.transports.grpc import METHOD, ORLOJ_METHOD, Grpc
from holdfast.tools.transports.http import Http
from holdfast.tools.transports.port import Transport
from holdfast.tools.transports.wasm import Wasm
from holdfast.tools.typed.checking import checked_schema
from holdfast.types import Governance, ToolSpec, digest_of

__all__ = ("Making",)

T = TypeVar("T")
Fault = tuple[Place, str]

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NOTHING: Final = re.compile(r"0+(?:\.0+)?(?:ms|s|m|h)?")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_GENERIC: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}
"""What a tool takes that does not say it (source: Orloj 1.4)."""
_PART: Final[Place] = ("spec",)


@final
class Making:
    """Makes the tool of one manifest."""

    def __init__(self, draft: Manifest, path: Path) -> None:
        self._draft = draft
        self._path = path
        self.faults: list[Fault] = []

    def tool(self) -> Tool | None:
        """Returns the tool; None where something is wrong with it, which `faults` say."""
        draft, spec = self._draft, self._draft.spec
        if draft.kind is None:
            self._wrong((), "it does not say what it is: begin it with `kind: Tool`")
        if not _NAME.fullmatch(draft.metadata.name):
            self._wrong(
                ("metadata", "name"), "the name of a tool is 1 to 64 letters, digits, dashes or underscores: write one"
            )
        for section, types in SECTIONS.items():
            if getattr(spec, section) and spec.type not in types:
                self._wrong((*_PART, section), f"it belongs to the type {' or '.join(types)}, and this is {spec.type}")
        schema = self._schema()
        attempts = self._within(("runtime",), self._attempts)
        auth = None if spec.auth is None else self._within(("auth",), lambda: self._auth(spec.auth or AuthDraft()))
        transport = self._transport()
        if self.faults or transport is None or attempts is None:
            return None
        more: dict[str, Any] = {} if spec.max_output is None else {"max_output": spec.max_output}
        told = ToolSpec(
            name=draft.metadata.name,
            description=spec.description,
            parameters=schema,
            reference=f"file:{self._path}#{draft.metadata.name}",
            governance=Governance(
                risk=spec.risk_level, capabilities=spec.capabilities, operations=spec.operation_classes
            ),
            at_once=spec.at_once,
            **more,
        )
        made = self._within(
            (),
            lambda: standing_at(
                transport,
                told,
                _parser(schema),
                auth=auth,
                attempts=attempts,
                isolation=spec.runtime.isolation_mode,
                effect=spec.effect,
            ),
        )
        # Its reference is a file and a name, and the file may lead elsewhere tomorrow.
        said = msgspec.json.encode((draft.version, spec), order="sorted")
        return None if made is None else msgspec.structs.replace(made, declared=digest_of(said))

    # ---- parts --------------------------------------------------------------------------------------------

    def _schema(self) -> dict[str, Any]:
        spec = self._draft.spec
        for name in ("at_once", "max_output"):
            if (given := getattr(spec, name)) is not None and given < 1:
                self._wrong((*_PART, name), "it counts from 1: leave it out for its usual value")
        given = spec.input_schema
        if given is None:
            return _GENERIC
        place = (*_PART, "input_schema")
        if not isinstance(given, dict):
            self._wrong(place, "it is no JSON Schema: write `type: object` and `properties` below it")
            return _GENERIC
        schema = {"type": "object", **cast("dict[str, Any]", given)}
        if schema["type"] != "object":
            self._wrong(
                place, "what a tool takes is an object: write `type: object`, and the value as a property of it"
            )
        return self._within(("input_schema",), lambda: checked_schema(schema, "schema")) or _GENERIC

    def _attempts(self) -> Attempts:
        runtime, retry = self._draft.spec.runtime, self._draft.spec.runtime.retry
        return Attempts(
            timeout=self._seconds(("runtime", "timeout"), runtime.timeout),
            most=retry.max_attempts,
            backoff=self._seconds(("runtime", "retry", "backoff"), retry.backoff),
            max_backoff=self._seconds(("runtime", "retry", "max_backoff"), retry.max_backoff),
            jitter=retry.jitter,
        )

    def _auth(self, draft: AuthDraft) -> Auth | None:
        needs = {
            "api_key_header": (("headerName", draft.header),),
            "oauth2_client_credentials": (("tokenURL", draft.token_url),),
        }
        for field, value in (("secretRef", draft.secret), *needs.get(draft.profile, ())):
            if not value:
                self._wrong((*_PART, "auth", field), f"the profile {draft.profile} needs it: write its value")
        others = {
            "headerName": (draft.header, "api_key_header"),
            "tokenURL": (draft.token_url, "oauth2_client_credentials"),
            "scopes": (draft.scopes, "oauth2_client_credentials"),
        }
        for field, (value, profile) in others.items():
            if value and draft.profile != profile:
                self._wrong(
                    (*_PART, "auth", field), f"it belongs to the profile {profile}, and this is {draft.profile}"
                )
        if self.faults:
            return None
        match draft.profile:
            case "bearer":
                return Bearer(secret=draft.secret)
            case "api_key_header":
                return ApiKeyHeader(secret=draft.secret, header=draft.header)
            case "basic":
                return Basic(secret=draft.secret)
            case "oauth2_client_credentials":
                return OAuth2(secret=draft.secret, token_url=draft.token_url, scopes=draft.scopes)

    def _transport(self) -> Transport | None:
        spec = self._draft.spec
        part = {"cli": "cli", "container": "container", "wasm": "wasm"}.get(spec.type)
        if part is None and not spec.endpoint:
            self._wrong((*_PART, "endpoint"), f"a tool of the type {spec.type} is somewhere: write its address")
            return None
        if part is not None and getattr(spec, part) is None:
            self._wrong((*_PART, part), f"a tool of the type {spec.type} says what is run: write {part} and its keys")
            return None
        makes: dict[str, Callable[[], Transport]] = {
            "http": lambda: Http(spec.endpoint, private=spec.private),
            "external": lambda: External(spec.endpoint, private=spec.private),
            "webhook-callback": lambda: self._callback(spec.callback or CallbackDraft()),
            "grpc": lambda: self._grpc(spec.grpc or GrpcDraft()),
            "cli": lambda: self._cli(spec.cli or CliDraft()),
            "container": lambda: self._container(spec.container or ContainerDraft()),
            "wasm": lambda: self._wasm(spec.wasm or WasmDraft()),
        }
        return self._within((part or "endpoint",), makes[spec.type])

    def _callback(self, draft: CallbackDraft) -> Transport:
        place, spec = ("callback", "patience"), self._draft.spec
        patience = None if draft.patience is None else self._seconds(place, draft.patience)
        if patience is not None and not (draft.brought and patience):
            self._wrong(
                (*_PART, *place), "it is how long an answer that is brought is waited for: write `brought: true`"
            )
        return Callback(spec.endpoint, private=spec.private, brought=draft.brought, patience=patience)

    def _grpc(self, draft: GrpcDraft) -> Transport:
        spec = self._draft.spec
        usual = ORLOJ_METHOD if self._draft.version == "orloj.dev/v1" else METHOD
        address = spec.endpoint if _SCHEME.match(spec.endpoint) else f"grpcs://{spec.endpoint}"
        return Grpc(address, private=spec.private, method=draft.method or usual)

    def _cli(self, draft: CliDraft) -> Transport:
        self._programmed("cli", draft.command)
        wanted = draft.resources or draft.network != "none" or draft.image
        return Cli(
            self._command("cli", draft, draft.working_dir),
            image=draft.image,
            resources=self._resources("cli", draft.resources, draft.network) if wanted else None,
            stdin_from_input=draft.stdin_from_input,
            output=draft.output,
        )

    def _container(self, draft: ContainerDraft) -> Transport:
        if not draft.image:
            self._programmed("container", draft.command)
        resources = self._resources("container", draft.resources, draft.network)
        return Container(self._command("container", draft), image=draft.image, resources=resources)

    def _wasm(self, draft: WasmDraft) -> Transport:
        if not draft.module:
            self._wrong((*_PART, "wasm", "module"), "it is missing: write the path of the module, or its address")
        limits = ModuleLimits(
            fuel=draft.fuel, memory=draft.max_memory_bytes, entrypoint=draft.entrypoint, wasi=draft.enable_wasi
        )
        private = self._draft.spec.private
        return Wasm(draft.module or "none", self._path.parent, private=private, limits=limits, digest=draft.digest)

    def _programmed(self, part: str, command: str) -> None:
        if not command:
            self._wrong((*_PART, part, "command"), "it is missing: write the name or the path of the program")

    def _command(self, part: str, draft: CliDraft | ContainerDraft, folder: str = ".") -> Command:
        secrets: list[EnvFrom] = []
        for number, each in enumerate(draft.env_from):
            found = self._within((part, "env_from", number), lambda each=each: _variable(each))
            secrets += [] if found is None else [found]
        return Command(
            program=draft.command, args=draft.args, env=draft.env, env_from=tuple(secrets), working_dir=folder
        )

    def _resources(self, part: str, draft: ResourcesDraft | None, network: Any) -> Resources:
        draft = draft or ResourcesDraft()
        place = (part, "resources")
        memory = self._read((*place, "memory"), _docker_size, draft.memory, 128 * 1024**2)
        cpus = self._read((*place, "cpus"), float, draft.cpus, 0.5)
        return Resources(memory=memory, cpus=cpus, pids=draft.pids, network=network)

    # ---- faults -------------------------------------------------------------------------------------------

    def _seconds(self, place: Place, given: Any) -> float:
        if _NOTHING.fullmatch(str(given)):
            return 0.0
        return self._read(place, duration_of, given, 30.0)

    def _read(self, place: Place, how: Callable[[str], T], given: Any, otherwise: T) -> T:
        try:
            if isinstance(given, bool) or not isinstance(given, str | int | float):
                raise ValueError("it is no quantity; write a number, with its unit where it has one")
            return how(str(given))
        except ValueError as error:
            self._wrong((*_PART, *place), str(error))
            return otherwise

    def _within(self, place: Place, make: Callable[[], T]) -> T | None:
        """Returns what is made; what is refused is a fault of that place."""
        try:
            return make()
        except UsageError as error:
            self._wrong((*_PART, *place), str(error))
            return None

    def _wrong(self, place: Place, text: str) -> None:
        self.faults.append((place, text))


def _variable(draft: EnvFromDraft) -> EnvFrom:
    if not draft.name or not draft.secret:
        raise UsageError("a variable from a secret has a name and a secretRef: write both")
    return EnvFrom(name=draft.name, secret=f"{draft.secret}:{draft.key}" if draft.key else draft.secret)


def _docker_size(text: str) -> int:
    """Returns the bytes of `128Mi`, and of `128m`, as docker has it."""
    return size_of(f"{text[:-1]}{text[-1].upper()}i" if text[-1:] in ("m", "g") else text)


def _parser(schema: Mapping[str, Any]) -> Callable[[bytes], dict[str, Any]]:
    """Returns what reads the arguments of a call, and refuses those that do not fit the schema."""
    decode = msgspec.json.Decoder(dict[str, Any]).decode

    def parse(data: bytes) -> dict[str, Any]:
        value = decode(data)
        if why := misfit(schema, value):
            raise msgspec.ValidationError(why)
        return value

    return parse
