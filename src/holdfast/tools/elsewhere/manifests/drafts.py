"""What a manifest may say: each field with the value it has where nothing is said (source: Orloj 1.4, Tool)."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

__all__ = (
    "SECTIONS",
    "AuthDraft",
    "CallbackDraft",
    "CliDraft",
    "ContainerDraft",
    "EnvFromDraft",
    "GrpcDraft",
    "Manifest",
    "ResourcesDraft",
    "RetryDraft",
    "RuntimeDraft",
    "SpecDraft",
    "WasmDraft",
)


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """Whose manifest it is. Labels and annotations are for those who read it."""

    name: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class RetryDraft(msgspec.Struct, frozen=True, kw_only=True):
    """How often a call is tried."""

    max_attempts: int = 1
    backoff: Any = "0s"
    max_backoff: Any = "30s"
    jitter: Literal["none", "full", "equal"] = "none"


class RuntimeDraft(msgspec.Struct, frozen=True, kw_only=True):
    """How a call is made."""

    timeout: Any = "30s"
    """Of one attempt."""
    isolation_mode: Literal["none", "sandboxed", "container", "wasm"] | None = None
    retry: RetryDraft = RetryDraft()


class AuthDraft(msgspec.Struct, frozen=True, kw_only=True):
    """What a call is authenticated with; secrets by their names alone."""

    profile: Literal["bearer", "api_key_header", "basic", "oauth2_client_credentials"] = "bearer"
    secret: str = msgspec.field(default="", name="secretRef")
    header: str = msgspec.field(default="", name="headerName")
    token_url: str = msgspec.field(default="", name="tokenURL")
    scopes: tuple[str, ...] = ()


class ResourcesDraft(msgspec.Struct, frozen=True, kw_only=True):
    """What a container may use."""

    memory: Any = "128Mi"
    cpus: Any = 0.5
    pids: int = msgspec.field(default=64, name="pids_limit")


class EnvFromDraft(msgspec.Struct, frozen=True, kw_only=True):
    """A variable whose value is a secret."""

    name: str = ""
    secret: str = msgspec.field(default="", name="secretRef")
    key: str = ""


class ContainerDraft(msgspec.Struct, frozen=True, kw_only=True):
    """A program that speaks the contract, in a container of its own."""

    command: str = ""
    args: tuple[str, ...] = ()
    image: str = ""
    network: Literal["none", "bridge"] = "none"
    env: dict[str, str] = {}
    env_from: tuple[EnvFromDraft, ...] = ()
    resources: ResourcesDraft | None = None


class CliDraft(msgspec.Struct, frozen=True, kw_only=True):
    """A program, and the templates of its arguments."""

    command: str = ""
    args: tuple[str, ...] = ()
    image: str = ""
    network: Literal["none", "bridge"] = "none"
    stdin_from_input: bool = False
    output: Literal["stdout", "stderr", "both"] = "stdout"
    working_dir: str = "."
    env: dict[str, str] = {}
    env_from: tuple[EnvFromDraft, ...] = ()
    resources: ResourcesDraft | None = None


class WasmDraft(msgspec.Struct, frozen=True, kw_only=True):
    """A module; its path is relative to the folder of the manifest."""

    module: str = ""
    digest: str = ""
    entrypoint: str = "run"
    max_memory_bytes: int = 64 * 1024**2
    fuel: int = 1_000_000
    enable_wasi: bool = True


class GrpcDraft(msgspec.Struct, frozen=True, kw_only=True):
    """What is called at a gRPC endpoint."""

    method: str = ""


class CallbackDraft(msgspec.Struct, frozen=True, kw_only=True):
    """How the answers of a tool come that takes its time."""

    brought: bool = False
    patience: Any = None


class SpecDraft(msgspec.Struct, frozen=True, kw_only=True):
    """What the tool is."""

    type: Literal["http", "external", "grpc", "webhook-callback", "wasm", "cli", "container"] = "http"
    endpoint: str = ""
    description: str = ""
    input_schema: Any = None
    capabilities: tuple[str, ...] = ()
    operation_classes: tuple[Literal["read", "write", "delete", "admin"], ...] = ()
    risk_level: Literal["low", "medium", "high", "critical"] = "low"
    runtime: RuntimeDraft = RuntimeDraft()
    auth: AuthDraft | None = None
    cli: CliDraft | None = None
    container: ContainerDraft | None = None
    wasm: WasmDraft | None = None
    grpc: GrpcDraft | None = None
    callback: CallbackDraft | None = None
    private: bool = msgspec.field(default=False, name="allowPrivate")
    """Whether its endpoint may be an address of this machine or its networks."""
    effect: Literal["none", "keyed", "unsafe"] | None = None
    at_once: int | None = None
    max_output: int | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One document."""

    version: Literal["holdfast/v1", "orloj.dev/v1"] = msgspec.field(default="holdfast/v1", name="apiVersion")
    kind: Literal["Tool"] | None = None
    metadata: Metadata = Metadata()
    spec: SpecDraft = SpecDraft()


SECTIONS: dict[str, tuple[str, ...]] = {
    "cli": ("cli",),
    "container": ("container",),
    "wasm": ("wasm",),
    "grpc": ("grpc",),
    "callback": ("webhook-callback",),
    "auth": ("http", "external", "grpc", "webhook-callback", "wasm"),
    "endpoint": ("http", "external", "grpc", "webhook-callback"),
}
"""Which types each part of a spec belongs to."""
