"""The troupe of the runs with gates, children and phases."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from tests.durability.campaign.family.troupe import Troupe
from tests.durability.campaign.hostile.cases import serving
from tests.durability.campaign.trial import Stage


@pytest.fixture(scope="session")
def troupe(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Generator[Troupe]:
    with serving(tmp_path_factory.mktemp("service")) as service:
        yield Troupe(stage, service)
