"""The file of AgentOps: every field has an effect, or is refused by its name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from holdfast.errors import UsageError
from holdfast.server.doors.agentops.configuring.fields import Config
from holdfast.server.doors.agentops.configuring.making import Configured, configured

KEYS = {"OPENAI_API_KEY": "sk-openai-0001", "ANTHROPIC_API_KEY": "sk-anthropic-0001", "MY_LLM_API_KEY": "sk-mine-00001"}
OPENAI = {"name": "openai", "type": "openai"}
ANTHROPIC = {"name": "anthropic", "type": "anthropic"}
MINE = {"name": "my-llm", "type": "openaicompat", "baseURL": "http://127.0.0.1:9/v1"}


def load(folder: Path, *, daemon: bool = True, env: dict[str, str] | None = None, **fields: Any) -> Configured:
    path = folder / "config.json"
    told = {"providers": [OPENAI], "primaryModel": "openai/gpt-5-mini", **fields}
    path.write_text(json.dumps(told))
    return configured(path, KEYS | (env or {}), daemon=daemon)


EFFECTS: dict[str, tuple[dict[str, Any], Any, Any]] = {
    "primaryProvider": ({"primaryProvider": "openai", "primaryModel": "gpt-5"}, "openai/gpt-5", "model"),
    "fallbackModels": (
        {"providers": [OPENAI, ANTHROPIC], "fallbackModels": ["anthropic/claude-haiku-4-5"]},
        "openai/gpt-5-mini,anthropic/claude-haiku-4-5",
        "model",
    ),
    "systemPrompt": (
        {"systemPrompt": "You code.", "platformProtocol": "You are X."},
        "You are X.\n\nYou code.",
        "text",
    ),
    "resources": (
        {"resources": [{"name": "r", "kind": "github-repo", "description": "ours", "github": {"owner": "o"}}]},
        "What you work on:\n- r (github-repo; owner o): ours",
        "text",
    ),
    "builtinTools": (
        {"builtinTools": ["bash", "read"], "maxToolResultChars": 77},
        [("bash", 77), ("read", 77)],
        "tools",
    ),
    "enableQuestionTool": ({"enableQuestionTool": True}, [("question", 50_000)], "tools"),
    "temperature": ({"temperature": 0.3}, 0.3, "temperature"),
    "maxOutputTokens": ({"maxOutputTokens": 8192}, 8192, "max_output_tokens"),
    "maxSteps": ({"maxSteps": 50}, 50, "steps"),
    "memory.windowSize": ({"memory": {"windowSize": 20}}, 20, "messages_shown"),
    "maxTokensBudget": ({"maxTokensBudget": 5_000}, 5_000, "tokens"),
    "maxRetries": ({"maxRetries": 4}, 4, "model_retries"),
    "parallelToolExecution": ({"parallelToolExecution": False}, 1, "calls_at_once"),
    "callDefaults": (
        {"callDefaults": {"openai": {"reasoningEffort": "high", "serviceTier": "flex"}}},
        ("openai/gpt-5-mini:high", {"service_tier": "flex"}),
        "call",
    ),
    "thinkingBudgetTokens": (
        {
            "providers": [{**ANTHROPIC, "callDefaults": {"anthropic": {"thinkingBudgetTokens": 2048}}}],
            "primaryModel": "anthropic/claude-haiku-4-5",
        },
        ("anthropic/claude-haiku-4-5", {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
        "call",
    ),
}


def seen(made: Configured, what: str) -> Any:
    spec = made.agent.spec
    match what:
        case "text":
            return spec.instructions
        case "tools":
            return [(each.name, each.max_output) for each in spec.tools]
        case "call":
            return spec.model, spec.options
        case "steps" | "tokens" | "model_retries" | "calls_at_once":
            return getattr(spec.limits, what)
        case _:
            return getattr(spec, what)


@pytest.mark.requirement("server_agentops:config-fields")
@pytest.mark.parametrize("name", EFFECTS)
def test_a_field_of_the_agent_reaches_it(tmp_path: Path, name: str) -> None:
    given, wanted, what = EFFECTS[name]
    assert seen(load(tmp_path, **given), what) == wanted


@pytest.mark.requirement("server_agentops:config-fields")
def test_fields_of_the_runtime_reach_what_it_is_opened_with(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("Mind the gap.")
    oauth = {
        "tokenURL": "https://id.example/token",
        "clientIDEnv": "CID",
        "clientSecretEnv": "CSECRET",
        "scopes": ["a"],
    }
    made = load(
        tmp_path,
        env={"CID": "me", "CSECRET": "s", "AGENT_NAME": "smith", "AGENT_NAMESPACE": "ns", "WORKSPACE": "/data"},
        providers=[
            {**OPENAI, "organization": "org", "headers": {"X-A": "b"}},
            MINE,
            {"name": "corp", "type": "openaicompat", "baseURL": "https://llm.example/v1", "oauth2": oauth},
            {"name": "resp", "type": "openai", "baseURL": "http://localhost:1/v1", "useResponsesAPI": True},
        ],
        fallbackModels=["my-llm/a/b"],
        titleModel="resp/small",
        builtinTools=["bash"],
        permissionTools=["bash"],
        contextFiles=[{"path": "notes.md"}],
        maxRetries=1,
        budgetFraction=0.5,
        toolHooks={
            "blockedCommands": ["rm -rf"],
            "allowedPaths": ["/data"],
            "auditTools": ["bash"],
            "memorySaveRules": [{"tool": "bash", "matchOutput": "x"}],
        },
        memory=None,
    )
    assert made.agent.spec.model == "openai/gpt-5-mini,my-llm/a/b"
    assert (made.name, made.namespace, made.workspace, made.fraction) == ("smith", "ns", "/data", 0.5)
    assert made.access.headers == {"openai": {"OpenAI-Organization": "org", "X-A": "b"}}
    corp, resp = made.access.servers["corp"], made.access.servers["resp"]
    assert corp.oauth is not None and (corp.oauth.client_id, corp.oauth.scope) == ("me", "a")
    assert (resp.wire, made.access.servers["my-llm"].wire) == ("responses", "chat")
    assert set(made.access.keys) == {"openai", "my-llm"}
    assert made.titles is not None and made.titles.spec.model == "resp/small"
    assert made.policies[0].permissions[0].tool == "bash"
    assert made.hooks is not None and made.hooks.tools is not None
    assert (len(made.hooks.tools.before), len(made.hooks.tools.after)) == (2, 2)
    assert made.failover is not None and made.failover.tries == 2
    assert "Mind the gap." in made.agent.spec.instructions
    assert made.warnings == ()


@pytest.mark.requirement("server_agentops:config-fields")
def test_azure_is_reached_through_the_environment_that_its_models_read(tmp_path: Path) -> None:
    azure = {"name": "az", "type": "azure", "baseURL": "https://r.example", "azureAPIVersion": "2024-10-21"}
    made = load(tmp_path, env={"AZ_API_KEY": "k" * 20}, providers=[azure], primaryModel="az/dep")
    assert made.agent.spec.model == "azure/dep"
    assert made.environment == {"AZURE_OPENAI_ENDPOINT": "https://r.example", "OPENAI_API_VERSION": "2024-10-21"}


@pytest.mark.requirement("server_agentops:config-old-form")
def test_the_older_form_names_providers_and_nothing_more(tmp_path: Path) -> None:
    env = {"GROQISH_API_KEY": "k" * 20, "GROQISH_BASE_URL": "http://127.0.0.1:9/v1"}
    made = load(tmp_path, env=env, providers=[{"name": "anthropic"}, {"name": "groqish"}], primaryModel="groqish/m")
    assert made.agent.spec.model == "groqish/m"
    assert made.access.servers["groqish"].url == "http://127.0.0.1:9/v1"


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"runtime": "other"}, "runtime: "),
    ({"tools": [{"name": "kubectl", "path": "/tools/kubectl"}]}, "tools: "),
    ({"mcpServers": [{"name": "x", "port": 9001}]}, "mcpServers: "),
    ({"memory": {"serverURL": "http://m"}}, "memory: "),
    ({"memory": {"windowSize": 20, "project": "p"}}, "memory: "),
    ({"memory": {"windowSize": 1}}, "memory.windowSize: "),
    ({"delegation": {"team": ["a"]}}, "delegation.team: "),
    ({"toolHooks": {"contextInjectTools": [{"tool": "bash"}]}}, "toolHooks.contextInjectTools: "),
    ({"resources": [{"name": "r", "kind": "k", "readOnly": True}]}, "resources[0].readOnly: "),
    ({"resources": [{"name": "r", "kind": "k", "autoContext": True}]}, "resources[0].autoContext: "),
    ({"builtinTools": ["bsh"]}, "builtinTools[0]: there is no tool 'bsh'"),
    ({"permissionTools": ["bash"]}, "permissionTools[0]: "),
    ({"contextFiles": [{"path": "none.md"}]}, "contextFiles[0].path: "),
    ({"fallbackModels": ["else/m"]}, "fallbackModels[0]: "),
    ({"providers": [{"name": "x", "type": "anthropic"}], "primaryModel": "x/m"}, "X_API_KEY is not set"),
    ({"providers": [{**ANTHROPIC, "vertex": {"project": "p"}}]}, "providers[0].vertex: "),
    ({"providers": [{"name": "o", "type": "openaicompat"}]}, "providers[0].baseURL"),
    ({"callDefaults": {"anthropic": {"disableParallelToolUse": True}}}, "disableParallelToolUse: "),
    ({"primaryModel": 7}, "primaryModel: Expected `str`"),
    ({"providers": [{"name": 3}]}, "providers[0].name: Expected `str`"),
    ({"maxSteps": 0}, "maxSteps: "),
    ({"temperature": "hot"}, "temperature: "),
]


@pytest.mark.requirement("server_agentops:config-refusals")
@pytest.mark.parametrize(("given", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_what_would_have_no_effect_or_is_of_the_wrong_type_is_refused_by_its_name(
    tmp_path: Path, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, **given)
    assert said in str(caught.value)


@pytest.mark.requirement("server_agentops:config-refusals", "cli:config-file")
def test_what_nobody_knows_is_warned_of_with_its_place(tmp_path: Path) -> None:
    made = load(tmp_path, maxStep=3, providers=[{**OPENAI, "colour": "red"}], toolHooks={"auditTool": []})
    places = [each.partition("config.json: ")[2] for each in made.warnings]
    assert any(each.startswith("maxStep is not known") and "maxSteps" in each for each in places)
    assert any(each.startswith("providers[0].colour") for each in places)
    assert any(each.startswith("toolHooks.auditTool") for each in places)


@pytest.mark.requirement("cli:config-file")
def test_every_field_of_the_file_is_named_by_a_test() -> None:
    text = Path(__file__).read_text()
    missing = [each.encode_name for each in msgspec.structs.fields(Config) if each.encode_name not in text]
    assert not missing
