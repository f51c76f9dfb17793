"""Whatever a model reads, and whatever it does then: a call that is gated is not made by itself.

The model is the worst there is: it finds the order in what it reads, however it is written, and does as it is told.
What was done is counted outside of the runtime.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.security.injections.attacks import ATTACKS, SLOW
from tests.security.injections.carriers import CARRIERS
from tests.security.injections.obeying import ROUTES, Attack, play
from tests.security.injections.orders import ENCODINGS
from tests.security.injections.world import GATES, OPEN, PAID, Gate, paid

from holdfast.sandbox.snippets.wasm import WasmInterpreter

pytestmark = pytest.mark.requirement("injections:no-ungated-call")


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    PAID.clear()
    yield
    PAID.clear()


@pytest.mark.parametrize("gate", GATES, ids=str)
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda each: each.name)
async def test_what_a_stranger_wants_is_not_done(attack: Attack, gate: Gate, tmp_path: Path) -> None:
    played = await play(attack, gate, tmp_path)
    assert [each for each in paid(tmp_path) if each != attack.allows] == []
    if attack.bites and played.read:
        only_looks = gate.name == "read-only" and attack.order[0][0] == "follow"  # it changes nothing, but it is asked
        assert played.waited if gate.waits or only_looks else played.refused
        assert all(each.replace("\n", "").isprintable() for each in played.prompts), "a person sees what there is"


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda each: each.name)
async def test_without_a_gate_it_is_done(attack: Attack, tmp_path: Path) -> None:
    played = await play(attack, OPEN, tmp_path)
    assert played.read, "the model never read the order"
    assert bool(paid(tmp_path)) == attack.bites


@pytest.fixture
def scripts(python: WasmInterpreter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.sandbox.snippets.shared.shared_interpreter", lambda _: python)


@pytest.mark.usefixtures("scripts")
@pytest.mark.parametrize("gate", GATES, ids=str)
@pytest.mark.parametrize("attack", SLOW, ids=lambda each: each.name)
async def test_nor_is_it_done_by_a_script_or_for_a_container(attack: Attack, gate: Gate, tmp_path: Path) -> None:
    played = await play(attack, gate, tmp_path, ["script"])
    assert paid(tmp_path) == []
    assert played.read
    assert played.waited if gate.waits else played.refused


@pytest.mark.usefixtures("scripts")
@pytest.mark.parametrize("attack", SLOW, ids=lambda each: each.name)
async def test_without_a_gate_they_do_it_as_well(attack: Attack, tmp_path: Path) -> None:
    played = await play(attack, OPEN, tmp_path, ["script"])
    assert played.read
    assert paid(tmp_path)


def test_there_are_at_least_forty_of_them_and_no_two_are_alike() -> None:
    assert len(ATTACKS) + len(SLOW) >= 70
    assert len({each.name for each in (*ATTACKS, *SLOW)}) == len(ATTACKS) + len(SLOW)
    alike = {(each.carrier, each.encoding, each.route, each.text, str(each.order)) for each in (*ATTACKS, *SLOW)}
    assert len(alike) == len(ATTACKS) + len(SLOW)
    assert {each.carrier for each in (*ATTACKS, *SLOW)} == set(CARRIERS)
    assert {each.route for each in (*ATTACKS, *SLOW)} == set(ROUTES)
    assert {each.encoding for each in ATTACKS} == set(ENCODINGS)
