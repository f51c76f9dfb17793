"""What of a sandbox's output may reach a terminal that somebody sits at."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.cli.sandbox.screening import RESET, Screen

DRAWING = (
    b"plain \xc3\xa4 \xe2\x9c\x93\r\n\ttab\x08\x07",
    b"\x1b[2J\x1b[H\x1b[10;20H\x1b[K\x1b[1;31;48:5:9mred\x1b[0m",
    b"\x1b[?1049h\x1b[?25l\x1b[?2004h\x1b[?1006;1002h\x1b[3;20r\x1b[2 q",
    b"\x1b7\x1b8\x1bM\x1bc\x1b(0lqk\x1b(B\x1b=\x1b>\x1b[!p",
)
ACTING = (
    b"\x1b[6n", b"\x1b[5n", b"\x1b[?6n", b"\x1b[c", b"\x1b[0c", b"\x1b[>c", b"\x1b[=c", b"\x1b[x", b"\x1b[21t",
    b"\x1b[18t", b"\x1b[?1$p", b"\x1b[?u", b"\x1b[>1u", b"\x1b[>4;2m", b"\x1b[5i", b"\x1b[?2048h", b"\x1b[?996n",
    b"\x1bZ", b"\x05", b"\x1b]0;title\x07", b"\x1b]52;c;cm0=\x1b\\", b"\x1b]10;?\x07", b"\x1b]8;;http://x\x1b\\",
    b"\x1bPq#0\x1b\\", b"\x1bP$qm\x1b\\", b"\x1bP+q544e\x1b\\", b"\x1b_Gi=1\x1b\\", b"\x1b^x\x1b\\", b"\x1bXx\x1b\\",
    b"\xc2\x9b6n", b"\xc2\x9d0;t\xc2\x9c", b"\x1b%@", b"\x1b[99999b", b"\x1b[1;2;3;4;5T", b"\xe2\x80\xae",
    b"\x1b[2h", b"\x1b[20h", b"\x1b[12l", b"\x1b[3g", b"\x1b[g", b"\x1bH",
    b"\x1b[\x1b[6n", b"\x1b]0;\x1b[6n", b"\x1b[?6\x18n\x1b[6n",
)  # fmt: skip
"""Ways to have a terminal answer, to reach past the screen, or to leave it in a way that is not taken back."""
TELLING = (b"\x1b[6n", b"\x1b]", b"\x1bP", b"\x1b_", b"\x1b^", b"\x1bX", b"\x1bZ", b"\x05", b"\xc2\x9b", b"\xc2\x9d")


@pytest.mark.requirement("cli:sandbox-shell-screening")
@pytest.mark.parametrize("data", DRAWING)
def test_what_only_draws_comes_through_as_it_is(data: bytes) -> None:
    assert Screen().let_through(data) == data


@pytest.mark.requirement("cli:sandbox-shell-screening")
@pytest.mark.parametrize("data", ACTING)
def test_what_makes_a_terminal_answer_or_reaches_past_the_screen_does_not(data: bytes) -> None:
    out = Screen().let_through(b"a" + data + b"\x1b\\\x1b[0m" + b"b")
    assert out.startswith(b"a")
    assert out.endswith(b"b")
    assert data not in out
    assert not any(each in out for each in TELLING)


def test_of_several_modes_the_known_ones_are_set() -> None:
    assert Screen().let_through(b"\x1b[?25;2048;1000h") == b"\x1b[?25;1000h"
    assert Screen().let_through(b"\x1b[2;4;20h") == b"\x1b[4h"


@pytest.mark.requirement("cli:sandbox-shell-screening")
@given(st.lists(st.sampled_from((*DRAWING, *ACTING, b"\x1b", b"[", b"]", b"0;", b"x")), max_size=8), st.data())
def test_it_does_not_matter_where_the_pieces_are_cut(parts: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    screen = Screen()
    pieces = [screen.let_through(whole[a:b]) for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert b"".join(pieces) == Screen().let_through(whole)


@pytest.mark.requirement("cli:sandbox-shell-screening")
@given(st.lists(st.one_of(st.sampled_from((*ACTING, b"\x1b", b"\x1b[", b"?", b"6n", b"c")), st.binary(max_size=4))))
def test_nothing_comes_through_twice_that_was_stopped_once(parts: list[bytes]) -> None:
    once = Screen().let_through(b"".join(parts))
    assert Screen().let_through(once) == once
    assert not any(each in once for each in TELLING)


def test_what_takes_modes_back_is_let_through_itself() -> None:
    assert Screen().let_through(RESET.encode()) == RESET.encode()


@pytest.mark.requirement("cli:sandbox-shell-screening")
@pytest.mark.parametrize(
    ("written", "back"),
    [
        (b"plain", b""),
        (b"\x1b[?1049h", b"\x1b[?1049l"),
        (b"\x1b[?25;1047h", b"\x1b[?1047l"),
        (b"\x1b[?47h\x1b[?1049h", b"\x1b[?1049l"),
        (b"\x1b[?1049hedited\x1b[?1049l", b""),
        (b"\x1b[?1049h\x1bc", b""),
        (b"\x1b[?1049\x18h", b""),
    ],
)
def test_only_a_screen_that_was_taken_is_given_back_since_that_moves_the_cursor(written: bytes, back: bytes) -> None:
    screen = Screen()
    for at in range(len(written)):
        screen.let_through(written[at : at + 1])
    assert screen.reset == back + RESET.encode()
    assert "\x1b7\x1b[r\x1b8" in RESET
    assert RESET.count("\x1b[r") == 1


def test_a_sequence_without_an_end_holds_nothing_up_for_ever() -> None:
    screen = Screen()
    screen.let_through(b"\x1b[" + b"1" * 5000)
    assert screen.let_through(b"shown").endswith(b"shown")
