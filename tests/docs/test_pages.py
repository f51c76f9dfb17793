"""The documents there must be: their shape, their length, and that their links lead somewhere."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
from tests.docs.fences import prose
from tests.docs.playing import ROOT
from tests.docs.test_documents import DOCUMENTS

DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
GUIDE = (
    "first-run", "own-tools", "limits", "models", "custom-models", "sandboxes", "sessions-and-undo", "approvals",
    "governance", "tools-elsewhere", "secrets", "code-mode", "embedding", "server", "several-agents", "how-it-works",
)  # fmt: skip
FILE = re.compile(r"`([\w./-]+/(?:[\w-]+\.(?:py|md|toml|yaml))?)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def anchors(text: str) -> set[str]:
    """Returns the anchors a reader's page makes of a document's headings."""
    titles = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def leads_somewhere(file: Path, link: str) -> bool:
    """Whether a link in a document leads to a file of the repository, and to a heading in it if it names one."""
    path, _, anchor = link.partition("#")
    target = (file.parent / path).resolve() if path else file
    if not target.is_relative_to(ROOT) or not target.exists():
        return False
    return not anchor or anchor in anchors(target.read_text("utf-8"))


@pytest.mark.requirement("repo:docs-pages")
@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_of_a_document_leads_to_a_file_and_a_heading(name: str) -> None:
    file = ROOT / name
    wrong = [link for link in LINK.findall(prose(file.read_text("utf-8"))) if not leads_somewhere(file, link)]
    assert not wrong, f"{name} links to what is not there: {wrong}"


@pytest.mark.requirement("repo:docs-pages")
def test_every_file_named_in_running_text_exists() -> None:
    places = (ROOT, ROOT / "src" / "holdfast", ROOT / "docs")
    named = [(name, path) for name in DOCUMENTS for path in FILE.findall(prose((ROOT / name).read_text("utf-8")))]
    named = [each for each in named if not each[1].startswith(".holdfast/")]  # that one is in a reader's own project
    wrong = [f"{name}: {path}" for name, path in named if not any((place / path).exists() for place in places)]
    assert not wrong, "files that are not there (write them from the repository or from src/holdfast): " + str(wrong)


@pytest.mark.requirement("repo:docs-pages")
def test_the_documents_are_as_long_as_a_reader_has_time_for() -> None:
    def words(name: str) -> int:
        return len((ROOT / name).read_text("utf-8").split())

    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 200
    assert words("ARCHITECTURE.md") <= 1400
    assert words("CONTRIBUTING.md") < 900
    assert all(words(f"docs/guide/{page}.md") <= 1700 for page in GUIDE)
    assert all(len(file.read_text("utf-8").split()) <= 500 for file in DECISIONS)


@pytest.mark.requirement("repo:guide-pages")
def test_the_guide_has_sixteen_pages_that_lead_from_one_to_the_next() -> None:
    folder = ROOT / "docs" / "guide"
    index = (ROOT / "docs" / "guide.md").read_text("utf-8")
    assert re.findall(r"\(guide/([a-z-]+)\.md\)", index) == list(GUIDE)
    assert {file.stem for file in folder.iterdir()} == set(GUIDE)
    for page, following in pairwise(GUIDE):
        assert f"]({following}.md)" in (folder / f"{page}.md").read_text("utf-8")
        assert f"]({page}.md)" in (folder / f"{following}.md").read_text("utf-8")


@pytest.mark.requirement("repo:guide-pages")
@pytest.mark.parametrize("name", ["README.md", "docs/guide.md", *(f"docs/guide/{page}.md" for page in GUIDE)])
def test_no_line_of_the_pages_for_users_is_longer_than_code_may_be(name: str) -> None:
    lines = (ROOT / name).read_text("utf-8").splitlines()
    assert [number for number, line in enumerate(lines, start=1) if len(line) > 120] == []


@pytest.mark.requirement("repo:docs-pages")
def test_decisions_are_numbered_without_gaps_and_each_has_its_three_parts() -> None:
    assert DECISIONS
    assert [int(file.name[:4]) for file in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    for file in DECISIONS:
        headings = re.findall(r"^## (.+)$", file.read_text("utf-8"), re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences"], file.name
        assert re.match(rf"# {int(file.name[:4])}\. \S", file.read_text("utf-8")), file.name


@pytest.mark.parametrize("link", ["nothing.md", "README.md#nothing", "../outside", "https://example.com"])
def test_a_link_that_leads_nowhere_is_found(link: str) -> None:
    assert not leads_somewhere(ROOT / "README.md", link)
    assert leads_somewhere(ROOT / "README.md", "docs/guide/own-tools.md#effects")
