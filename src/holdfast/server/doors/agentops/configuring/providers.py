"""Where models are asked: from the file's providers to servers, keys, headers and names of models.

A provider of the file is one of ours where its name and its kind are the same and it is where it always is; else it is
a server that is described here, under the name the file gives it. Its key is in `<NAME>_API_KEY`, dashes as `_`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast, final

import msgspec

from holdfast.errors import UsageError
from holdfast.models.access.access import Access
from holdfast.models.access.oauth import ClientCredentials
from holdfast.models.access.servers import CustomServer
from holdfast.server.doors.agentops.configuring.fields import CallDefaults, Config, Kind, Provider

__all__ = ("PARALLEL", "Providers")

_WIRES: Mapping[str, tuple[str, str]] = {
    "anthropic": ("messages", "https://api.anthropic.com"),
    "openai": ("chat", "https://api.openai.com/v1"),
    "google": ("gemini", "https://generativelanguage.googleapis.com"),
    "openrouter": ("chat", "https://openrouter.ai/api/v1"),
    "openaicompat": ("chat", ""),
}
"""What a kind of provider speaks, and where it is."""
_OWN = ("azure", "bedrock")
"""Kinds that are reached as ours alone are: what is said of them goes into the environment that ours read."""
_NAMES: Mapping[str, Kind] = {
    "anthropic": "anthropic",
    "openai": "openai",
    "google": "google",
    "gemini": "google",
    "azure": "azure",
    "bedrock": "bedrock",
    "openrouter": "openrouter",
}
"""Kinds of providers that say none, by their names (the older form)."""
_LOCAL = ("http://localhost:", "http://127.0.0.1:")
_EFFORTS = {"max": "xhigh", "none": "off"}
_BLOCKS: Mapping[str, str] = {"anthropic": "anthropic", "google": "google", "bedrock": "anthropic"}
"""Which block of `callDefaults` a kind goes by; `openai` for the others."""


@final
class Providers:
    """The providers of a file."""

    def __init__(self, config: Config, environment: Mapping[str, str]) -> None:
        """Raises:
        UsageError: one cannot be reached as it is described, or has no key; says which field, and what to do.
        """
        self._config = config
        self._env = environment
        self._kinds: dict[str, Kind] = {}
        self._given: dict[str, Provider] = {}
        self._ours: dict[str, str] = {}
        """What stands before the slash here, by the file's name."""
        self.environment: dict[str, str] = {}
        """What is to be set in the process's environment."""
        self._keys: dict[str, str] = {}
        self._headers: dict[str, dict[str, str]] = {}
        self._servers: dict[str, CustomServer] = {}
        for at, provider in enumerate(config.providers):
            self._add(provider, f"providers[{at}]")
        self.access = Access(keys=self._keys, headers=self._headers, servers=self._servers)

    def _add(self, given: Provider, where: str) -> None:
        name = given.name
        if name in self._given:
            raise UsageError(f"{where}.name: {name!r} is there twice: give each provider a name of its own")
        kind, given = self._kind(given)
        _refuse(given, kind, where)
        self._given[name], self._kinds[name] = given, kind
        if kind in _OWN:
            ours = self._own(given, kind, where)
        elif (
            name == kind and not (given.base_url or given.use_responses_api or given.oauth2) and kind != "openaicompat"
        ):
            ours = name
        else:
            ours = name
            self._servers[name] = self._server(given, kind, where)
        self._ours[name] = ours
        if headers := _headers(given):
            self._headers[ours] = headers
        if (key := self._key(given, kind, where)) and given.oauth2 is None:
            self._keys[ours] = key

    def _kind(self, given: Provider) -> tuple[Kind, Provider]:
        if given.type is not None:
            return given.type, given
        if (kind := _NAMES.get(given.name)) is not None:
            return kind, given
        url = given.base_url or self._env.get(f"{_variable(given.name)}_BASE_URL", "")
        return "openaicompat", msgspec.structs.replace(given, base_url=url)

    def _own(self, given: Provider, kind: Kind, where: str) -> str:
        ours = f"{kind}-responses" if kind == "azure" and given.use_responses_api else kind
        told = {
            "azure": {"AZURE_OPENAI_ENDPOINT": given.base_url, "OPENAI_API_VERSION": given.azure_api_version},
            "bedrock": {"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": given.base_url},
        }[kind]
        for variable, value in told.items():
            if value and self.environment.setdefault(variable, value) != value:
                raise UsageError(f"{where}: a process asks one resource of {kind}: leave one of the two providers out")
        return ours

    def _server(self, given: Provider, kind: Kind, where: str) -> CustomServer:
        wire, url = _WIRES[kind]
        if given.use_responses_api:
            wire = "responses"
        if not (given.base_url or url):
            raise UsageError(f"{where}.baseURL is missing: a provider of type {kind!r} needs its address")
        auth = None
        if given.oauth2 is not None:
            asked = given.oauth2
            id = self._env.get(asked.client_id_env, "")
            if not id:
                raise UsageError(f"{where}.oauth2: {asked.client_id_env} is not set: it holds the client's id")
            auth = ClientCredentials(
                token_url=asked.token_url,
                client_id=id,
                secret_variable=asked.client_secret_env,
                scope=" ".join(asked.scopes),
                audience=asked.audience,
                send="body",
            )
        return CustomServer(
            wire=wire,
            url=given.base_url or url,
            key_variables=() if auth else (f"{_variable(given.name)}_API_KEY",),
            needs_key=not (auth or given.base_url.startswith(_LOCAL)),
            oauth=auth,
            replaces=True,
        )

    def _key(self, given: Provider, kind: Kind, where: str) -> str:
        variable = f"{_variable(given.name)}_API_KEY"
        key = self._env.get(variable, "") or self._env.get(f"{given.name.upper()}_API_KEY", "")
        if not (key or kind == "bedrock" or given.oauth2 or given.base_url.startswith(_LOCAL)):
            raise UsageError(f"{where}: {variable} is not set: it holds the key of the provider {given.name!r}")
        return key.strip()

    # ---- models -------------------------------------------------------------------------------------------

    def model(self, name: str, where: str) -> str:
        """Returns a model of the file as it is named here, with how much it is to think.

        Raises:
            UsageError: it is of no provider of the file.
        """
        provider, sign, model = name.partition("/")
        if not (sign and provider in self._given):
            provider, model = self._default(name, where), name
        if provider not in self._given:
            raise UsageError(
                f"{where}: {name!r} is of no provider of this file: write provider/model with one of "
                f"{', '.join(self._given) or 'providers'}, or set primaryProvider"
            )
        level = self._level(provider)
        # A colon at the end says that what stands before it is the name.
        return f"{self._ours[provider]}/{model}{f':{level}' if level else ':' if ':' in model else ''}"

    def _default(self, name: str, where: str) -> str:
        if self._config.primary_provider:
            return self._config.primary_provider
        if len(self._given) == 1 and "/" not in name:
            return next(iter(self._given))
        raise UsageError(
            f"{where}: whose model {name!r} is nobody says: write provider/model with one of "
            f"{', '.join(self._given) or 'providers'}, or set primaryProvider"
        )

    def _block(self, provider: str) -> Any:
        """Returns what is said of each call of a provider's models; None for nothing."""
        block = _BLOCKS.get(self._kinds[provider], "openai")
        for defaults in (self._given[provider].call_defaults, self._config.call_defaults):
            if defaults is not None and (found := getattr(defaults, block)) is not None:
                return found
        return None

    def _level(self, provider: str) -> str:
        block = self._block(provider)
        word = (
            getattr(block, "effort", None)
            or getattr(block, "reasoning_effort", None)
            or (getattr(block, "thinking_level", None) or "").lower()
        )
        return _EFFORTS.get(word, word)

    def options(self, models: Sequence[str]) -> dict[str, Any]:
        """Returns fields that each request carries, to whichever of these models, as `model` returned them.

        Raises:
            UsageError: they are of one provider, and others are asked, too.
        """
        names = {model.partition("/")[0] for model in models}
        told = [self._fields(name) for name, ours in self._ours.items() if ours in names]
        nothing: dict[str, Any] = {}
        found = next((each for each in told if each), nothing)
        if any(each != found for each in told):
            raise UsageError(
                f"callDefaults: {', '.join(found)} would be sent to every model that is asked, and these are of "
                "several providers: leave it out, or keep to one provider"
            )
        return found

    def _fields(self, provider: str) -> dict[str, Any]:
        block, found = self._block(provider), dict[str, Any]()
        if (tokens := getattr(block, "thinking_budget_tokens", None)) is not None:
            if self._level(provider):
                raise UsageError(
                    "callDefaults: thinkingBudgetTokens says what effort or thinkingLevel says already: keep one"
                )
            if self._kinds[provider] == "google":
                found["generationConfig"] = {"thinkingConfig": {"thinkingBudget": tokens}}
            else:
                found["thinking"] = {"type": "enabled", "budget_tokens": tokens}
        if tier := getattr(block, "service_tier", ""):
            found["service_tier"] = tier
        if safety := getattr(block, "safety_settings", ()):
            found["safetySettings"] = [dict(each) for each in cast("tuple[dict[str, str], ...]", safety)]
        return found

    def idle_defaults(self) -> list[str]:
        """Returns which blocks of `callDefaults` are of no provider."""
        used = {_BLOCKS.get(kind, "openai") for kind in self._kinds.values()}
        given = [self._config.call_defaults, *(each.call_defaults for each in self._given.values())]
        named = {block for each in given if each for block in CallDefaults.__struct_fields__ if getattr(each, block)}
        return sorted(named - used)


def _variable(name: str) -> str:
    return name.upper().replace("-", "_").replace(".", "_")


def _headers(given: Provider) -> dict[str, str]:
    more = {"OpenAI-Organization": given.organization, "OpenAI-Project": given.project}
    return {**{name: value for name, value in more.items() if value}, **given.headers}


def _refuse(given: Provider, kind: Kind, where: str) -> None:
    """Raises where something is asked for that would have no effect."""
    speaks = kind in ("openai", "openaicompat", "azure")
    unfit = {
        "vertex": given.vertex is not None,
        "bedrock": given.bedrock,
        "useResponsesAPI": given.use_responses_api and not speaks,
        "azureAPIVersion": bool(given.azure_api_version) and kind != "azure",
        "organization": bool(given.organization) and kind != "openai",
        "project": bool(given.project) and kind != "openai",
        "oauth2": given.oauth2 is not None and kind != "openaicompat",
    }
    advice = {
        "vertex": "Vertex is not reached from here yet: ask the provider itself, with its key",
        "bedrock": "make it a provider of type 'bedrock', and name the models as Bedrock does",
        "oauth2": "tokens are fetched for providers of type 'openaicompat': make it one",
    }
    for field, asked in unfit.items():
        if asked:
            raise UsageError(
                f"{where}.{field}: {advice.get(field, f'this means nothing for type {kind!r}: leave it out')}"
            )
    defaults = given.call_defaults
    if defaults and defaults.anthropic and defaults.anthropic.disable_parallel_tool_use:
        raise UsageError(f"{where}.callDefaults.anthropic.disableParallelToolUse: {PARALLEL}")


PARALLEL = "a model is not kept from wanting several tools: set parallelToolExecution to false, and they run in turn"
