"""What may stand in the file: the fields of both of its forms (source: AgentOps 7.1, 7.8)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

__all__ = (
    "AnthropicDefaults",
    "CallDefaults",
    "Config",
    "ContextFile",
    "Delegation",
    "GoogleDefaults",
    "Hooks",
    "InjectToolRule",
    "Memory",
    "OAuth2",
    "OpenAIDefaults",
    "Provider",
    "Resource",
    "SaveToolRule",
    "Vertex",
)

Kind = Literal["anthropic", "openai", "google", "azure", "bedrock", "openrouter", "openaicompat"]
_Count = Annotated[int, Meta(ge=1)]


class OAuth2(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Whom to ask for tokens that go in the place of a key."""

    token_url: str = msgspec.field(name="tokenURL")
    client_id_env: str = msgspec.field(name="clientIDEnv")
    client_secret_env: str
    scopes: tuple[str, ...] = ()
    audience: str = ""


class Vertex(msgspec.Struct, frozen=True):
    """A project of Google's cloud."""

    project: str = ""
    location: str = ""


class AnthropicDefaults(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What each call of Anthropic's models says."""

    effort: Literal["low", "medium", "high", "max"] | None = None
    thinking_budget_tokens: Annotated[int, Meta(ge=1024)] | None = None
    disable_parallel_tool_use: bool = False


class OpenAIDefaults(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What each call of OpenAI's models says."""

    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    service_tier: str = ""


class GoogleDefaults(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What each call of Google's models says."""

    thinking_level: Literal["LOW", "MEDIUM", "HIGH", "MINIMAL"] | None = None
    thinking_budget_tokens: Annotated[int, Meta(ge=128)] | None = None
    safety_settings: tuple[dict[str, str], ...] = ()


class CallDefaults(msgspec.Struct, frozen=True, kw_only=True):
    """What each call says, by the kind of its provider."""

    anthropic: AnthropicDefaults | None = None
    openai: OpenAIDefaults | None = None
    google: GoogleDefaults | None = None


class Provider(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Where models are asked."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    """What stands before the slash of its models; its key is in `<NAME>_API_KEY`."""
    type: Kind | None = None
    """Without one, the name says it (the older form)."""
    base_url: str = msgspec.field(name="baseURL", default="")
    headers: dict[str, str] = {}
    organization: str = ""
    project: str = ""
    use_responses_api: bool = msgspec.field(name="useResponsesAPI", default=False)
    azure_api_version: str = msgspec.field(name="azureAPIVersion", default="")
    vertex: Vertex | None = None
    bedrock: bool = False
    call_defaults: CallDefaults | None = None
    oauth2: OAuth2 | None = None


class SaveToolRule(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What is noted of a tool's results."""

    tool: str
    match_output: str = ""
    match_args: dict[str, str] = {}
    type: str = "discovery"
    scope: str = "project"


class InjectToolRule(msgspec.Struct, frozen=True, kw_only=True):
    """What is brought beside a tool's results."""

    tool: str
    query: str = "from_tool_args"
    limit: int = 3


class Hooks(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What is asked about calls of tools."""

    blocked_commands: tuple[str, ...] = ()
    allowed_paths: tuple[str, ...] = ()
    audit_tools: tuple[str, ...] = ()
    memory_save_rules: tuple[SaveToolRule, ...] = ()
    context_inject_tools: tuple[InjectToolRule, ...] = ()


class ContextFile(msgspec.Struct, frozen=True):
    """A file whose words the agent knows."""

    path: str


class Resource(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Something the agent works on: it is told of it."""

    name: str
    kind: str
    display_name: str = ""
    description: str = ""
    read_only: bool = False
    auto_context: bool = False
    github: dict[str, Any] | None = None
    github_org: dict[str, Any] | None = None
    gitlab: dict[str, Any] | None = None
    gitlab_group: dict[str, Any] | None = None
    git: dict[str, Any] | None = None
    mcp: dict[str, Any] | None = None
    s3: dict[str, Any] | None = None
    documentation: dict[str, Any] | None = None


class Delegation(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Whom it may give jobs to."""

    team: tuple[str, ...] = ()
    max_fan_out: Annotated[int, Meta(ge=1, le=10)] | None = None


class Memory(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What is known over conversations; of it there is only how much of one is sent (the older form)."""

    server_url: str = msgspec.field(name="serverURL", default="")
    project: str = ""
    context_limit: int | None = None
    auto_summarize: bool | None = None
    auto_save: bool | None = None
    auto_search: bool | None = None
    window_size: Annotated[int, Meta(ge=2)] | None = None


class Config(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The whole file."""

    runtime: str = "fantasy"
    providers: Annotated[tuple[Provider, ...], Meta(max_length=100)] = ()
    call_defaults: CallDefaults | None = None
    primary_provider: str | None = None
    primary_model: Annotated[str, Meta(min_length=1)]
    fallback_models: tuple[str, ...] = ()
    title_model: str | None = None
    system_prompt: str | None = None
    platform_protocol: str | None = None
    builtin_tools: tuple[str, ...] = ()
    tools: tuple[dict[str, Any], ...] = ()
    mcp_servers: tuple[dict[str, Any], ...] = ()
    tool_hooks: Hooks | None = None
    context_files: tuple[ContextFile, ...] = ()
    resources: tuple[Resource, ...] = ()
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    max_output_tokens: _Count | None = None
    max_steps: _Count | None = None
    permission_tools: tuple[str, ...] = ()
    enable_question_tool: bool = False
    memory: Memory | None = None
    delegation: Delegation | None = None
    max_tool_result_chars: _Count | None = None
    budget_fraction: Annotated[float, Meta(gt=0, lt=1)] | None = None
    max_tokens_budget: _Count | None = None
    max_retries: Annotated[int, Meta(ge=0, le=20)] | None = None
    parallel_tool_execution: bool | None = None
