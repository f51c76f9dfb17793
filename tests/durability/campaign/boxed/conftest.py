"""The stage of runs whose commands run in sandboxes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.durability.campaign.boxed.job import plant, speak
from tests.durability.campaign.trial import Stage, staged


@pytest.fixture(scope="session")
def theatre() -> Generator[Stage]:
    folder = Path(tempfile.mkdtemp(prefix="holdfast-boxed-", dir="/tmp"))  # the other user has to come in
    folder.chmod(0o755)
    try:
        with staged(folder, {"boxed": speak, "planting": plant}) as stage:
            yield stage
    finally:
        shutil.rmtree(folder)
