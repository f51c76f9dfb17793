"""What is measured: the cases, the programs that run them, and the other figures.

Only names and numbers; how to measure is `measuring`, what is allowed is `budgets`.
"""

from dataclasses import dataclass

__all__ = ("CASES", "FIGURES", "FLOOR", "OURS", "PEERS", "Case", "Figure", "Program", "quick_case")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A scripted conversation, run many times."""

    name: str
    title: str
    runs: int
    """Runs of one measurement of the floor and of Holdfast: about 0.2 s of the floor's CPU."""
    peer_runs: int
    """Runs of one measurement of a peer, which needs ten to some hundred times as long."""
    turns: int = 1
    """How often it is measured in a round: where one look is short, the machine's moods outweigh what is seen."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """Something that runs the cases."""

    name: str
    label: str
    module: str
    arguments: tuple[str, ...] = ()
    imports: str = ""
    """A peer runs only where this module can be imported."""
    distribution: str = ""
    """Where its version is found."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A program of its own that prints one number, or a few."""

    name: str
    module: str
    programs: tuple[tuple[str, str], ...]
    """(program, what the row says) for each number; the program's argument picks it."""
    unit: str
    size: int = 0
    """How much of it to do: runs or events."""
    quick_size: int = 0


CASES = (
    Case(name="hello", title="one turn, no tool", runs=1000, peer_runs=40, turns=5),
    Case(name="tools10", title="10 tool steps", runs=100, peer_runs=8),
    Case(name="stream1000", title="1,000-token answer", runs=120, peer_runs=8),
    Case(name="tools100", title="100 tool steps", runs=16, peer_runs=2),
    Case(name="tools10-sync", title="10 steps, plain def tool", runs=100, peer_runs=8),
    Case(name="tools10-unsafe", title="10 steps, a barrier each", runs=100, peer_runs=8),
)

FLOOR = Program(name="floor", label="floor", module="bench.floor.floor")

OURS = (
    Program(name="memory", label="holdfast, memory", module="bench.programs.holdfast_run", arguments=("memory",)),
    Program(name="sqlite", label="holdfast, SQLite", module="bench.programs.holdfast_run", arguments=("sqlite",)),
)

PEERS = (
    Program(
        name="pydantic-ai",
        label="pydantic-ai",
        module="bench.peers.pydantic_ai",
        imports="pydantic_ai",
        distribution="pydantic-ai-slim",
    ),
    Program(
        name="openai-agents",
        label="OpenAI Agents SDK",
        module="bench.peers.openai_agents",
        imports="agents",
        distribution="openai-agents",
    ),
    Program(
        name="langgraph",
        label="LangGraph",
        module="bench.peers.langgraph",
        imports="langchain_openai",
        distribution="langgraph",
    ),
    Program(
        name="strands",
        label="Strands Agents",
        module="bench.peers.strands",
        imports="strands.models.openai",
        distribution="strands-agents",
    ),
    Program(name="agno", label="Agno", module="bench.peers.agno", imports="agno", distribution="agno"),
    Program(
        name="agent-framework",
        label="Agent Framework",
        module="bench.peers.agent_framework",
        imports="agent_framework_openai",
        distribution="agent-framework-core",
    ),
)

FIGURES = (
    Figure(
        name="startup",
        module="bench.programs.startup",
        programs=(("import", "import holdfast"), ("help", "holdfast --help")),
        unit="x python",
        size=7,
        quick_size=2,
    ),
    Figure(
        name="idle",
        module="bench.programs.idle",
        programs=(("memory", "a live run, memory"), ("sqlite", "a live run, SQLite")),
        unit="KiB",
        size=1000,
        quick_size=100,
    ),
    Figure(
        name="events",
        module="bench.programs.events",
        programs=(("sqlite", "durable, 100 runs"),),
        unit="per s",
        size=100,
        quick_size=20,
    ),
    Figure(
        name="steps",
        module="bench.programs.steps",
        programs=(("memory", "late over early step"),),
        unit="x early",
        size=1000,
        quick_size=100,
    ),
    Figure(
        name="gateway",
        module="bench.programs.gateway",
        programs=(("call", "a trivial tool call"), ("share", "of a step of the floor, in %")),
        unit="",
        size=20_000,
        quick_size=1_000,
    ),
    Figure(
        name="resume",
        module="bench.programs.resume",
        programs=(("sqlite", "a killed run"),),
        unit="ms",
        size=10_000,
        quick_size=500,
    ),
    Figure(
        name="fork",
        module="bench.programs.fork",
        programs=(("sqlite", "in the log, 10,000 events"),),
        unit="ms",
        size=10_000,
        quick_size=500,
    ),
    Figure(
        name="long",
        module="bench.programs.long",
        programs=(("cpu", "10,000 steps, late over early"), ("bytes", "10,000 steps, store over a line")),
        unit="x",
        size=10_000,
        quick_size=400,
    ),
    Figure(
        name="depth",
        module="bench.programs.depth",
        programs=(("sqlite", "100 forks of forks, read"),),
        unit="x flat",
        size=100,
        quick_size=10,
    ),
    Figure(
        name="crowd",
        module="bench.programs.crowd",
        programs=(("sqlite", "1,000 runs, behind the median"),),
        unit="steps",
        size=1000,
        quick_size=50,
    ),
    Figure(
        name="snapshot",
        module="bench.programs.snapshot",
        programs=(("sqlite", "10,000 unchanged files"),),
        unit="ms",
        size=10_000,
        quick_size=500,
    ),
    Figure(
        name="sandbox-cold",
        module="bench.programs.sandbox_start",
        programs=(("cold-bubblewrap", "over hardened bwrap"), ("cold-spawn", "over spawning true")),
        unit="x",
        size=40,
        quick_size=4,
    ),
    Figure(
        name="sandbox-warm",
        module="bench.programs.sandbox_start",
        programs=(("warm-spawn", "over spawning true"),),
        unit="x",
        size=100,
        quick_size=4,
    ),
    Figure(
        name="sandbox-undo",
        module="bench.programs.sandbox_undo",
        programs=(("overlay", "overlay, 40,000 files"), ("btrfs", "btrfs, 40,000 files")),
        unit="x 10,000",
        size=10_000,
        quick_size=500,
    ),
    Figure(
        name="sandbox-branches",
        module="bench.programs.sandbox_branches",
        programs=(("btrfs", "100 live from one state"),),
        unit="ms",
        size=100,
        quick_size=8,
    ),
    Figure(
        name="sandbox-idle",
        module="bench.programs.sandbox_idle",
        programs=(("native", "a sandbox that idles"),),
        unit="KiB",
        size=100,
        quick_size=20,
    ),
)


def quick_case(case: Case) -> Case:
    """The same case, just long enough to see that it runs."""
    return Case(name=case.name, title=case.title, runs=max(2, case.runs // 10), peer_runs=2)
