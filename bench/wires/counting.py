"""Counts instructions instead of time, under valgrind: the same on a busy machine as on a quiet one.

The program says where the measured part begins and ends (`MARKS`, see `measure.py`), and callgrind writes down what was
carried out between. It leaves out what the kernel does, and tells nothing of caches; a ratio of it is near that of CPU.
"""

import os
import re
import shutil
import tempfile
from pathlib import Path

from ..measuring import ProgramFailed, Sample, Surroundings, run_command

__all__ = ("count_instructions", "is_there")

_MARK = "getpriority"
_TOTALS = re.compile(r"^totals: (\d+)", re.MULTILINE)
_SLOWER = 10
"""How many times fewer runs are enough: there is next to no noise."""


def is_there() -> bool:
    """Whether this machine has valgrind."""
    return shutil.which("valgrind") is not None


def count_instructions(
    module: str, arguments: tuple[str, ...], *, surroundings: Surroundings, python: str, environment: dict[str, str]
) -> Sample:
    """One measurement, as `run_program` makes it; `cpu_ms_per_run` is millions of instructions.

    Raises:
        ProgramFailed: It failed, hung or printed something else.
    """
    runs = max(4, int(environment["RUNS"]) // _SLOWER)
    with tempfile.TemporaryDirectory(prefix="holdfast-callgrind-") as folder:
        out = Path(folder) / "counts"
        command = ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={out}"]
        command += [f"--dump-before={_MARK}", f"--zero-before={_MARK}", python, "-m", module, *arguments]
        marked = {**environment, "RUNS": str(runs), "MARKS": "1", "PYTHONHASHSEED": "0"}
        sample = run_command(command, surroundings.environment({**marked, "PATH": os.environ["PATH"]}))
        between = out.with_suffix(".2")
        found = _TOTALS.search(between.read_text("utf-8")) if between.exists() else None
    if found is None:
        raise ProgramFailed("callgrind counted nothing between the marks")
    return {**sample, "cpu_ms_per_run": int(found[1]) / runs / 1e6, "instructions": int(found[1])}
