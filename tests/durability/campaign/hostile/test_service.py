"""The judge of the campaign: the hostile service does what it says, and its ledger shows every single time."""

from __future__ import annotations

import contextlib
import http.client
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest
from tests.durability.campaign.hostile.cases import Service, serving
from tests.durability.campaign.hostile.server import MANNERS, manner_of


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("service")) as service:
        yield service


def label_that(manner: str, kind: str) -> str:
    """Returns a label that is met in that manner."""
    return next(label for label in map(str, count()) if manner_of("0", kind, label).name == manner)


def send(service: Service, verb: str, book: str, kind: str, label: str, key: str) -> tuple[int, str]:
    """Sends one request and returns status and text; status 0 when there was no answer."""
    address = f"{service.address}/{book}/0/{kind}/{label}"
    request = urllib.request.Request(address, None, {"Idempotency-Key": key}, method=verb)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with contextlib.closing(error):
            return error.code, ""
    except (OSError, http.client.HTTPException):
        return 0, ""


def times(service: Service, book: str) -> Counter[str]:
    return Counter(done.key for done in service.done_in(book))


@pytest.mark.parametrize("manner", MANNERS)
def test_keyed_work_is_done_once_for_each_key_even_when_it_is_asked_for_twice_at_once(
    service: Service, manner: str
) -> None:
    label, book = label_that(manner, "keyed"), f"keyed-{manner}"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: send(service, "POST", book, "keyed", label, key), ["a", "a", "b", "a"] * 2))
    assert times(service, book) == {"a": 1, "b": 1}


@pytest.mark.parametrize("kind", ["checkable", "unsafe"])
def test_other_work_is_done_each_time(service: Service, kind: str) -> None:
    for _ in range(3):
        send(service, "POST", kind, kind, "x", "a")
    assert times(service, kind) == {"a": 3}


@pytest.mark.parametrize(("manner", "status"), [("drops", 0), ("breaks", 500), ("twice", 200), ("repeats", 200)])
def test_a_bad_answer_comes_after_the_work(service: Service, manner: str, status: int) -> None:
    label = label_that(manner, "unsafe")
    assert send(service, "POST", manner, "unsafe", label, "a")[0] == status
    assert times(service, manner) == {"a": 1}


def test_a_question_waits_for_work_under_way_and_is_answered_in_the_end(service: Service) -> None:
    label = label_that("slow", "checkable")
    with ThreadPoolExecutor(1) as pool:
        posted = pool.submit(send, service, "POST", "asked", "checkable", label, "a")
        said = [send(service, "GET", "asked", "checkable", label, "a") for _ in range(4)]
        assert posted.result()[0] == 200
    said += [send(service, "GET", "asked", "checkable", label, "a") for _ in range(3)]
    assert said[-1] == (200, f"checkable {label}: done")
    assert send(service, "GET", "asked", "checkable", "never", "a")[0] in (0, 404, 500)
    assert times(service, "asked") == {"a": 1}
