"""What `grep` takes for a pattern, and that what ripgrep is given matches no line less than what Python is given."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.tools.builtin.searching.dialect import parse, parse_literal
from holdfast.tools.builtin.searching.finding import find_ripgrep
from holdfast.tools.builtin.searching.rendering import for_python, for_ripgrep
from holdfast.tools.builtin.searching.wildcards import Wildcards

RIPGREP = find_ripgrep()


def found(pattern: str, text: str, *, fold: bool = False) -> str | None:
    match = re.search(for_python(parse(pattern, fold=fold)), text, re.MULTILINE)
    return match and match.group()


@pytest.mark.parametrize(
    ("pattern", "text", "match"),
    [
        (r"foo\(", "x foo(1)", "foo("),
        ("foo {", "foo {", "foo {"),
        ("a{2}", "baa", "aa"),
        ("a{2,}b", "aaab", "aaab"),
        ("a{1,2}?", "aaa", "aa"),
        ("x{,3}", "x{,3}", "x{,3}"),
        ("{}", "{}", "{}"),
        (r"^\s*def\s+\w+", "\n  def name(", "  def name"),
        (r"[^a]", "a\n", None),
        (r"\W", "a\n", None),
        (r"[\w.-]+@", "a.b-c@", "a.b-c@"),
        ("[]x]+", "]x]", "]x]"),
        ("[^]x]", "]xa", "a"),
        ("[a-]+", "-a", "-a"),
        (r"[[:alpha:]_]+[[:space:]]", "ab_ 1", "ab_ "),
        (r"\bé?a\b", "éa", "a"),
        ("(?P<name>a|b)+c", "abc", "abc"),
        ("(?i)Straße", "STRAßE", "STRAßE"),
        ("(?i:A)b", "ab", "ab"),
        ("(?i:A)b", "aB", None),
        (r"\x41\u0042\x{43}", "ABC", "ABC"),
        ("a||b", "", ""),
        (r"\<", "<", "<"),
        ("日本", "a日本", "日本"),
        ("a}", "a}", "a}"),
    ],
)
def test_patterns_mean_what_people_expect(pattern: str, text: str, match: str | None) -> None:
    assert found(pattern, text) == match


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("(a", "not closed"),
        ("a)", "closes nothing"),
        ("[a", "not closed"),
        ("a\\", "ends in a backslash"),
        ("*a", "nothing stands before"),
        ("a**", "repetition of a repetition"),
        ("a++", "repetition of a repetition"),
        ("^*", "cannot be repeated"),
        ("a{3,2}", "from the smaller number"),
        ("a{2000}", "at most 1000"),
        ("(?=a)", "lookaround"),
        ("(?<!a)b", "lookaround"),
        (r"(a)\1", "no backreferences"),
        (r"\p{Lu}", "no Unicode classes"),
        ("a\nb", "one line"),
        (r"a\n", "is not supported"),
        (r"\x0a", "a line can hold"),
        (r"\ud800", "a line can hold"),
        ("[z-a]", "from the smaller character"),
        (r"[\D]", "cannot stand in"),
        ("[[:blah:]]", "is not supported"),
        ("\ud800", "half a character"),
        ("a" * 3000, "longer than"),
        ("(" * 100, "in one another"),
    ],
)
def test_what_the_engines_do_not_share_is_refused_with_what_to_use(pattern: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse(pattern, fold=False)


LETTERS = st.sampled_from(
    [*"abiIkKsS.-_ é\r\t}", "\u017f", "\u212a", "\u0130", "\u0131", "É", "日", "😀", "\ufeff", "\x80"]
)
LEAF = st.one_of(
    LETTERS.map(lambda sign: sign if sign not in ".-" else "\\" + sign),
    st.sampled_from([".", r"\d", r"\w", r"\s", r"\b", r"\B", "^", "$", r"\W", r"\S", r"\D"]),
    st.tuples(st.sampled_from(["", "^"]), st.lists(LETTERS.filter(lambda s: s != "-"), min_size=1, max_size=3)).map(
        lambda pair: f"[{pair[0]}{''.join(pair[1])}]"
    ),
    st.sampled_from(["[a-z]", "[^a-é]", "[é-\uffff]", r"[\d\s]", "[[:punct:]]"]),
)
PATTERN = st.recursive(
    LEAF,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("|".join),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{1,2}", "{0,2}?"])).map(lambda p: f"(?:{p[0]}){p[1]}"),
        inner.map(lambda each: f"(?i:{each})"),
    ),
    max_leaves=6,
)
BYTES = st.lists(
    st.one_of(
        LETTERS.map(str.encode),
        st.sampled_from(
            [b"\n", b"\r\n", b"\r", b"\xff", b"\xe9", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"A", b"9"]
        ),
    ),
    max_size=8,
).map(b"".join)


@pytest.mark.skipif(RIPGREP is None, reason="needs ripgrep")
@pytest.mark.requirement("tools:grep-engines-agree")
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(PATTERN, st.booleans(), st.lists(BYTES, min_size=1, max_size=12))
def test_ripgrep_never_misses_a_file_in_which_a_line_matches(pattern: str, fold: bool, files: list[bytes]) -> None:
    node = parse(pattern, fold=fold)
    find = re.compile(for_python(node), re.MULTILINE).search
    for data in files:
        text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape").replace("\r\n", "\n")
        if data in (b"", b"\xef\xbb\xbf") or not find(text.removesuffix("\n")):
            continue
        assert RIPGREP is not None
        asked = subprocess.run(
            [RIPGREP, "--no-config", "--quiet", "--encoding=none", "--no-mmap", "--", for_ripgrep(node), "-"],
            input=data,
            check=False,
            capture_output=True,
            timeout=20,
        )
        assert (asked.returncode, asked.stderr) == (0, b""), (for_ripgrep(node), data)


@pytest.mark.skipif(RIPGREP is None, reason="needs ripgrep")
@pytest.mark.requirement("tools:grep-engines-agree")
@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize(
    "pattern",
    [
        *("^i$", "^k$", "^S$", "^a$", "^\u017f$", "^\u0131$", "^É$", "^ǆ$", "^[h-t]$", "^[^a-z]$", "^[à-ÿ]$"),
        *(r"^\w$", r"^\W$", r"^\s$", "^.$", r"\b", r"^\B", "[[:punct:]]", "^[\ud7ff-\ue000]$"),
    ],
)
def test_no_character_at_all_is_missed_by_ripgrep(pattern: str, fold: bool, tmp_path: Path) -> None:
    node = parse(pattern, fold=fold)
    codes = [*range(1, 10), *range(11, 0x590), *range(0x1E00, 0x2200), 0xD7FF, 0xE000, 0xFB06, 0xFEFF, 0xFFFF, 0x10FFFF]
    signs = [chr(code).encode() for code in codes]
    lines = signs + [bytes([code]) for code in range(128, 256)] + [b"\xed\xa0\x80", b"\xff\xfe", b""]
    find = re.compile(for_python(node), re.MULTILINE).search
    exact = {at for at, line in enumerate(lines, 1) if find(line.decode("utf-8", "surrogateescape").removesuffix("\r"))}
    (tmp_path / "f").write_bytes(b"".join(line + (b"\r\n" if at % 2 else b"\n") for at, line in enumerate(lines)))
    assert RIPGREP is not None
    command = [
        RIPGREP,
        "--no-config",
        "-n",
        "--no-mmap",
        "--encoding=none",
        "--",
        for_ripgrep(node),
        str(tmp_path / "f"),
    ]
    asked = subprocess.run(command, capture_output=True, check=False, timeout=20)
    assert exact <= {int(line.partition(b":")[0]) for line in asked.stdout.splitlines() if line[:1].isdigit()}


@pytest.mark.skipif(RIPGREP is None, reason="needs ripgrep")
@pytest.mark.parametrize(
    ("pattern", "data"),
    [
        ("^a", b"\xef\xbb\xbfa"),
        (r"^\b", b"\xef\xbb\xbfa"),
        ("^$", b"\xef\xbb\xbf\n"),
        ("^$", b"a\r\n\r\n"),
        ("a$", b"a\r\n"),
        (r"a\b$", b"a\r\n"),
        (r"\B$", b".\r\n"),
        ("^.{2}$", b"\xff\xc3\n"),
        ("^[é-\uffff]$", b"\xff\n"),
        ("a|", b"\n"),
    ],
)
def test_marks_line_ends_and_bytes_that_are_no_text_are_not_missed_by_ripgrep(pattern: str, data: bytes) -> None:
    node = parse(pattern, fold=False)
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape").replace("\r\n", "\n")
    assert re.search(for_python(node), text.removesuffix("\n"), re.MULTILINE)
    assert RIPGREP is not None
    command = [RIPGREP, "--no-config", "--quiet", "--no-mmap", "--encoding=none", "--", for_ripgrep(node), "-"]
    assert subprocess.run(command, input=data, capture_output=True, check=False, timeout=20).returncode == 0


@given(st.text(max_size=20), st.booleans())
def test_any_text_is_a_pattern_or_is_refused_and_as_it_stands_finds_itself(text: str, fold: bool) -> None:
    try:
        re.compile(for_python(parse(text, fold=fold)), re.MULTILINE)
    except ValueError as error:
        assert not isinstance(error, re.error), error
    try:
        node = parse_literal(text, fold=fold)
    except ValueError:
        return
    assert re.search(for_python(node), text, re.MULTILINE)


@pytest.mark.requirement("tools:glob-double-star")
@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("**/*.py", "a.py", True),
        ("**/*.py", "x/y/a.py", True),
        ("*.py", "x/a.py", False),
        ("src/**", "src/a/b", True),
        ("src/**", "src", False),
        ("src/**/b", "src/b", True),
        ("**/test/**/*.{ts,tsx}", "a/test/b.tsx", True),
        ("{a,b/**}/c", "b/x/y/c", True),
        ("{a,b{1,2}}", "b2", True),
        ("{a}", "{a}", True),
        ("{a,b", "{a,b", True),
        ("a**b", "axxb", True),
        ("a**b", "ax/xb", False),
        ("[!a]b", "cb", True),
        ("[a-c]?", "bz", True),
        ("*", ".hidden", False),
        (".*", ".hidden", True),
        ("**/x", ".git/x", False),
        (".git/**", ".git/x/y", True),
        ("**/.github/*", "a/.github/w", True),
        ("./a//b", "a/b", True),
        ("**/**/**/a", "a", True),
        ("A", "a", False),
    ],
)
def test_patterns_over_paths(pattern: str, path: str, matches: bool) -> None:
    assert Wildcards(pattern).matches(path.split("/")) is matches


@pytest.mark.parametrize("pattern", ["/etc/*", "../x", "a/../b", "", "./", "{a,b}" * 9, "x" * 3000, "a\0b"])
def test_a_pattern_over_paths_that_leads_elsewhere_or_explodes_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"the (pattern|braces)"):
        Wildcards(pattern)


def test_a_hostile_pattern_over_paths_is_followed_soon() -> None:
    assert not Wildcards("*a" * 100 + "b").matches(["a" * 255])
    assert not Wildcards("**/" * 300 + "b").matches(["a"] * 100)
