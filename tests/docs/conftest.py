"""What every page is played with: an empty folder and home, and a model whose words are in `model.yaml`."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.docs.playing import Page

from holdfast.testing import ScriptedModelServer


@pytest.fixture
def page(tmp_path: Path, snippets_cache: Path) -> Generator[Page]:
    home = tmp_path / "home"
    folder = tmp_path / "page"
    home.mkdir()
    folder.mkdir()
    with ScriptedModelServer.in_thread(Path(__file__).with_name("model.yaml")) as server:
        environment = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "HOME": str(home),
            "XDG_CACHE_HOME": str(snippets_cache),
            "LANG": "C.UTF-8",
            "COLUMNS": "80",
            "PYTHONDONTWRITEBYTECODE": "1",
            "OPENAI_BASE_URL": server.base_url,
            "ANTHROPIC_BASE_URL": server.origin,
        }
        page = Page(folder, environment)
        try:
            yield page
        finally:
            page.close()
        server.verify(complete=False)
