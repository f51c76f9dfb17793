"""The theatre of the runs against the hostile service."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from tests.durability.campaign.hostile.cases import Theatre, serving
from tests.durability.campaign.trial import Stage


@pytest.fixture(scope="session")
def theatre(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Generator[Theatre]:
    with serving(tmp_path_factory.mktemp("service")) as service:
        yield Theatre(stage, service)
