"""`holdfast stub` as one of the commands, and how long `--help` takes."""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from bench.budgets import budget_for
from bench.programs.startup import cpu_seconds
from tests.surfaces.commands import Shell


@pytest.mark.requirement("cli:stub")
def test_a_fixture_is_served_on_loopback_and_the_command_says_where(tmp_path: Path) -> None:
    (tmp_path / "script.yaml").write_text("turns: [{text: Hello.}]")
    with Shell(tmp_path).running("stub", "script.yaml", "--port", "0", "-o", "json") as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["base_url"]
        assert url.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{url}/models", timeout=5) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=10)
    assert (process.returncode, error) == (0, "")
    assert json.loads(out.splitlines()[-1])["event"] == "stopped"


@pytest.mark.requirement("cli:help-fast")
def test_help_takes_at_most_as_many_starts_of_a_bare_interpreter_as_its_budget_says() -> None:
    bare = [sys.executable, "-c", "pass"]
    ours = [str(Path(sys.executable).with_name("holdfast")), "--help"]
    pairs = [(cpu_seconds(ours), cpu_seconds(bare)) for _ in range(6)][1:]
    must = budget_for("startup", "help").must
    assert must == 9
    assert statistics.median(long / short for long, short in pairs) <= must


@pytest.mark.requirement("net:client-made-late")
def test_a_command_that_asks_no_model_loads_no_http_library_and_nothing_that_draws_markdown(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from holdfast.cli.main import main\n"
        "try: main(['approve', 'list'])\n"
        "except SystemExit as left: assert not left.code\n"
        "assert not {'aiohttp', 'rich.markdown'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30, env=Shell(tmp_path).environment)
