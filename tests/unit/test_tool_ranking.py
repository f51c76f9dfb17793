"""How tools are ranked: what counts, what cannot change the order, and what must not break it."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.tools.finding.index import ToolIndex
from holdfast.tools.finding.ranking import Ranking
from holdfast.tools.finding.words import terms
from holdfast.types import ToolSpec

pytestmark = pytest.mark.requirement("finding:ranking")
WORDS = st.sampled_from(["file", "issue", "mail", "close", "open", "user"])
DOCUMENTS = st.lists(st.dictionaries(WORDS, st.integers(1, 30)), max_size=12)


def spec(name: str, description: str = "", parameters: Any = None) -> ToolSpec:
    return ToolSpec(name=name, description=description, parameters=parameters or {})


def names(index: ToolIndex, text: str, limit: int = 5) -> list[str]:
    return [index.specs[place].name for place in index.best(text, limit)]


@given(others=DOCUMENTS, times=st.integers(1, 200), length=st.integers(0, 50))
def test_a_document_never_ranks_lower_for_having_a_term_more_often(
    others: list[dict[str, int]], times: int, length: int
) -> None:
    def score(often: int) -> int:
        one = {"wanted": often, "filler": 201 + length - often}  # as long as ever
        return Ranking([one, *others]).scores(["wanted"])[0]

    assert 0 < score(times) <= score(times + 1)
    if times < 20:
        assert score(times) < score(times + 1)


@given(documents=DOCUMENTS, asked=st.lists(WORDS, max_size=8), limit=st.integers(1, 12), seed=st.integers())
def test_the_ranking_depends_on_neither_the_order_of_terms_nor_how_much_of_it_is_wanted(
    documents: list[dict[str, int]], asked: list[str], limit: int, seed: int
) -> None:
    mixed = list(asked)
    random.Random(seed).shuffle(mixed)
    whole = Ranking(documents).best(asked, len(documents) + 1)
    assert Ranking(documents).best(mixed * 2, limit) == whole[:limit]
    assert set(whole) == {at for at, document in enumerate(documents) if set(document) & set(asked)}


@given(documents=st.lists(st.dictionaries(WORDS, st.integers(1, 3)), min_size=1, max_size=6), asked=st.lists(WORDS))
def test_documents_that_are_alike_keep_their_order(documents: list[dict[str, int]], asked: list[str]) -> None:
    twins = [each for document in documents for each in (document, dict(document))]
    best = Ranking(twins).best(asked, len(twins))
    assert all(best[best.index(at) + 1] == at + 1 for at in best if at % 2 == 0)


@given(st.lists(st.text(max_size=60), max_size=6), st.text(max_size=200))
def test_no_text_of_any_script_breaks_it(texts: list[str], asked: str) -> None:
    index = ToolIndex(spec(f"t{number}", text, {"properties": {text: {}}}) for number, text in enumerate(texts))
    assert index.best(asked, 3) == index.best(asked, 6)[:3]
    assert all(terms(text) == terms(text) for text in (*texts, asked))


@given(st.text(min_size=1, max_size=40))
def test_a_text_fits_itself_where_it_says_anything(text: str) -> None:
    index = ToolIndex([spec("a", "nothing"), spec("b", text)])
    if terms(text):
        assert 1 in index.best(text, 2)


def test_a_name_counts_more_than_a_description_and_a_description_as_much_as_a_parameter() -> None:
    index = ToolIndex(
        [
            spec("alpha", "Sends an invoice somewhere."),
            spec("send_invoice", "Does what it says on the label."),
            spec("beta", "Does it", {"properties": {"invoice_id": {}}}),
            spec("gamma", "Nothing of that kind at all."),
        ]
    )
    assert names(index, "invoices")[0] == "send_invoice"
    assert set(names(index, "invoices")) == {"send_invoice", "alpha", "beta"}


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ("please close the issues", "closeIssue"),
        ("closeIssue", "closeIssue"),
        ("list_policies", "list_policies"),
        ("policy", "list_policies"),
        ("HTTP server", "startHTTPServer"),
        ("créer une facture", "facture_creer"),
        ("发票", "invoice_zh"),
        ("我要创建发票", "invoice_zh"),
        ("東京の天気", "weather_ja"),
        ("WEATHER", "weather_ja"),
    ],
)
def test_words_are_found_whatever_their_form(asked: str, wanted: str) -> None:
    index = ToolIndex(
        [
            spec("other", "Anything else."),
            spec("closeIssue", "Closes one."),
            spec("list_policies", "Lists them."),
            spec("startHTTPServer", "Listens."),
            spec("facture_creer", "Crée une facture."),
            spec("invoice_zh", "创建发票"),
            spec("weather_ja", "天気を調べる"),
        ]
    )
    assert names(index, asked, 1) == [wanted]


def test_words_that_say_nothing_count_only_where_there_are_no_others() -> None:
    index = ToolIndex([spec("about", "What is it about: this, that, and all of the others."), spec("mail", "Sends.")])
    assert names(index, "what about the mail?") == ["mail"]
    assert names(index, "about") == ["about"]
    assert names(index, "") == names(index, "?!… \ud800") == []


def test_schemas_and_texts_of_others_may_be_as_odd_and_large_as_they_like() -> None:
    odd: list[Any] = [{"properties": None}, {"properties": [1]}, {"properties": {"x" * 10**6: 1}}, {"type": []}]
    odd.append({"properties": {f"p{number}": {} for number in range(100_000)}})
    index = ToolIndex(spec(f"t{number}", "long " * 10**6, each) for number, each in enumerate(odd))
    assert len(index.best("long " * 10**6 + "end", 10)) == len(odd)
    assert index.best("p99", 3) == [4]
    assert index.best("p99999", 3) == []


def test_the_ranking_is_the_same_in_another_process() -> None:
    code = (
        "from holdfast.tools.finding.index import ToolIndex; from holdfast.types import ToolSpec;"
        "w = ['mail', 'issue', 'user', 'file', 'close', 'open'];"
        "i = ToolIndex(ToolSpec(name=f'{a}_{b}', description=a + ' the ' + b, parameters={}) for a in w for b in w);"
        "print(i.best('close the issue of that user', 20))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, check=True, capture_output=True, text=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1
