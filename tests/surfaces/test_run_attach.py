"""`holdfast run --attach`: files that a job may read, and images that the model is shown."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from tests.surfaces.commands import shell

from holdfast.testing import ScriptRequest, Turn
from holdfast.testing.scripts import Call
from holdfast.types import Image, UserMessage

DOT = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def script(request: ScriptRequest) -> Turn:
    """Reads the first file it is told of, and says what it holds and how many images it was shown."""
    if request.answers:
        said = [each for each in request.messages if isinstance(each, UserMessage)]
        images = sum(isinstance(part, Image) for part in said[0].parts)
        return Turn(text=f"{images} image, {(request.last_result or '').strip()}")
    path = re.search(r'data.csv \(.*?\): read\(path="(blob:sha256:[0-9a-f]+)"\)', request.last_user_text)
    return Turn(calls=[Call("read", {"path": path[1] if path else "none"})])


@pytest.mark.requirement("cli:run-attach")
def test_a_job_reads_the_files_it_is_given_and_is_shown_the_images(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("bolts,3")
    (tmp_path / "dot.png").write_bytes(DOT)
    with shell(tmp_path, script) as sh:  # type: ignore[arg-type]
        done = sh.run("run", "-q", "--attach", "data.csv", "--attach", "dot.png", "Sum it up")
    assert (done.returncode, done.stdout) == (0, "1 image, bolts,3\n")


@pytest.mark.requirement("cli:run-attach")
def test_a_file_that_cannot_be_attached_is_named_and_nothing_is_started(tmp_path: Path) -> None:
    with (tmp_path / "large.bin").open("wb") as file:
        file.truncate(51_000_000)
    with shell(tmp_path, [Turn(text="never")]) as sh:
        missing = sh.run("run", "--attach", "missing.csv", "Sum it up")
        large = sh.run("run", "--attach", "large.bin", "Sum it up")
        assert sh.run("runs", "list", "-o", "json").stdout.strip() == "[]"
    assert (missing.returncode, large.returncode) == (2, 2)
    assert "'missing.csv' cannot be attached" in missing.stderr
    assert "51,000,000 bytes" in large.stderr
