"""What snippets try, and that nothing comes of it outside their interpreter."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from holdfast.sandbox.snippets.port import SnippetLimits
from holdfast.sandbox.snippets.wasm import WasmInterpreter

SMALL = SnippetLimits(fuel=2_000_000_000, wall=20.0)


async def answer(python: WasmInterpreter, code: str, **more: Any) -> Any:
    """Returns the answer of a snippet that must end well."""
    result = await python.run(code, **more)
    assert result.ended == "ok", result
    return result.answer


@pytest.mark.requirement("sandbox:snippets-answer")
async def test_a_snippet_answers_with_its_last_expression_or_its_result_and_what_it_printed(
    python: WasmInterpreter,
) -> None:
    assert await answer(python, "x = inputs['x']\nx * 2", inputs={"x": 21}) == 42
    assert await answer(python, "result = sum(inputs)", inputs=[1, 2, 3]) == 6
    assert await answer(python, "pass") is None
    done = await python.run("import json, re, math\nprint('hé', math.pi)\n{'a': [1, None, True, 2.5, 'ü']}")
    assert (done.ended, done.answer) == ("ok", {"a": [1, None, True, 2.5, "ü"]})
    assert done.printed == "hé 3.141592653589793\n"
    assert done.fuel > 0
    assert done.seconds > 0


@pytest.mark.requirement("sandbox:snippets-answer")
@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def f(x):\n    return 1 / x\n\nf(0)", "ZeroDivisionError: division by zero"),
        ("def f(:", "SyntaxError"),
        ("{1, 2}", "TypeError: Object of type set is not JSON serializable"),
        ("float('nan')", "ValueError"),
        ("'\\ud800'", "UnicodeEncodeError"),
        ("print('\\ud800' * 3); raise KeyError('\\udfff')", "KeyError"),
        ("import sys; sys.exit('enough')", "SystemExit: enough"),
        ("import sys; sys.stdout = None; sys.stderr = None; 1 / 0", "ZeroDivisionError"),
        ("raise BaseException('odd')", "BaseException: odd"),
        ("\0", "SyntaxError"),
        ("import json; json.dumps = lambda *a, **k: 'no JSON'; 1", "cannot be read"),
        ('import json; json.dumps = lambda *a, **k: \'{"ended": "wall"}\'; 1', "cannot be read"),
        ("import json; json.dumps = lambda *a, **k: 1 / 0; 1", "broke off"),
        ("import time; time.sleep(1)", "broke off: there is no operating system here"),
    ],
)
async def test_a_snippet_that_fails_says_how(python: WasmInterpreter, code: str, said: str) -> None:
    done = await python.run(code)
    assert done.ended == "error"
    assert said in done.error
    assert "snippet_guest" not in done.error


async def test_a_traceback_shows_the_lines_of_the_snippet_and_nothing_else(python: WasmInterpreter) -> None:
    done = await python.run("def f(x):\n    return 1 / x\n\nf(0)")
    lines = done.error.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert '  File "<snippet>", line 4, in <module>' in lines
    assert "    return 1 / x" in lines


def left_in(folder: Path) -> list[str]:
    return [each.name for each in folder.iterdir()]


OUTSIDE = {
    "reads a file": "open('/etc/passwd').read()",
    "reads a file of its folder": "open('pyproject.toml').read()",
    "reads a process": "open('/proc/self/environ').read()",
    "writes a file": "open({canary!r}, 'w').write('x')",
    "writes by descriptor": "import os; os.write(os.open({canary!r}, os.O_WRONLY | os.O_CREAT), b'x')",
    "writes by path": "import pathlib; pathlib.Path({canary!r}).write_text('x')",
    "makes a folder": "import os; os.mkdir({canary!r})",
    "lists a folder": "import os; assert os.listdir('/') and False",
    "opens every descriptor": (
        "import os\nfor fd in range(3, 1024):\n    try: os.read(fd, 10)\n    except OSError: pass\n"
        "    else: raise SystemExit(0)\nraise RuntimeError('none')"
    ),
    "makes a link": "import os; os.symlink('/etc/passwd', {canary!r})",
    "makes a temporary file": "import tempfile; tempfile.NamedTemporaryFile()",
    "connects": "import socket; socket.create_connection(('127.0.0.1', {port}))",
    "connects by the hidden module": "import _socket; _socket.socket().connect(('127.0.0.1', {port}))",
    "fetches": "import urllib.request; urllib.request.urlopen('http://127.0.0.1:{port}')",
    "forks": "import os; os.fork()",
    "starts a program": "import subprocess; subprocess.run(['touch', {canary!r}])",
    "starts a shell": "import os; os.system('touch ' + {canary!r})",
    "becomes a program": "import os; os.execv('/usr/bin/touch', ['touch', {canary!r}])",
    "spawns": "import os; os.posix_spawn('/usr/bin/touch', ['touch', {canary!r}], {{}})",
    "kills": "import os; os.kill({pid}, 9)",
    "calls C": "import ctypes; ctypes.CDLL(None)",
    "maps memory": "import mmap; mmap.mmap(-1, 4096)",
    "starts a thread": "import threading; t = threading.Thread(target=print); t.start(); t.join()",
    "ends the process": "import os; os._exit(0)",
    "aborts": "import os; os.abort()",
    "sleeps": "import time; time.sleep(3600)",
    "waits": "import select; select.select([0], [], [], 3600)",
    "reads the terminal": "input()",
    "calls what is not there": "call('delete', {{}})",
    "calls the host past its guest": "import wit_world; wit_world.call(1, 2)",
    "loads a module of the host": "import msgspec",
    "loads the application": "import holdfast",
}
"""What a snippet wants; each must end as an error of its own, and none may have an effect."""


@pytest.mark.requirement("sandbox:snippets-reach-nothing")
@pytest.mark.parametrize("attempt", OUTSIDE)
async def test_a_snippet_reaches_nothing(python: WasmInterpreter, tmp_path: Path, attempt: str) -> None:
    canary = tmp_path / "canary"
    before = threading.active_count()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        code = OUTSIDE[attempt].format(canary=str(canary), port=server.getsockname()[1], pid=os.getpid())
        done = await python.run(code, limits=SMALL)
        assert done.ended == "error", done
        assert done.seconds < 5
        with pytest.raises(BlockingIOError):
            server.accept()
    assert left_in(tmp_path) == []
    assert threading.active_count() <= before + 8


@pytest.mark.requirement("sandbox:snippets-reach-nothing")
async def test_a_snippet_sees_no_environment_no_arguments_and_no_folder(
    python: WasmInterpreter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY", "secret")
    assert await answer(python, "import os, sys; [dict(os.environ), sys.argv, sys.path]") == [{}, [], []]
    assert await answer(python, "import os; os.getenv('CANARY')") is None


@pytest.mark.requirement("sandbox:snippets-reach-nothing")
async def test_whatever_is_imported_and_called_blindly_nothing_leaves(python: WasmInterpreter, tmp_path: Path) -> None:
    code = f"""
import sys
names, failed = sorted(sys.stdlib_module_names), 0
for name in names:
    try:
        __import__(name)
    except BaseException:
        failed += 1
import os
target = {str(tmp_path / "canary")!r}
done = []
for name in dir(os):
    if name in ("_exit", "abort"):
        continue
    for arguments in ((), (target,), (target, 0o777), (target, target), (3,), (3, b"x")):
        try:
            getattr(os, name)(*arguments)
        except BaseException:
            pass
result = len(names) - failed
"""
    done = await python.run(code, limits=SnippetLimits(wall=30))
    assert done.ended in ("ok", "error"), done
    assert left_in(tmp_path) == []


@pytest.mark.requirement("sandbox:snippets-reach-nothing")
async def test_the_usual_modules_can_be_imported_and_used(python: WasmInterpreter) -> None:
    code = """
import base64, collections, csv, dataclasses, datetime, decimal, difflib, enum, fractions, functools, hashlib, heapq, io
import itertools, json, math, operator, random, re, statistics, string, textwrap, time, typing, unicodedata
import urllib.parse, uuid
import xml.etree.ElementTree as tree
assert 0 <= random.random() < 1
assert time.time() > 1_700_000_000 and datetime.datetime.now().year > 2023
assert time.monotonic() <= time.monotonic() and time.perf_counter() > 0
assert uuid.uuid4() != uuid.uuid4()
[hashlib.sha256(b"x").hexdigest()[:8], tree.fromstring("<a b='1'/>").get("b"), str(decimal.Decimal("1.10") + 1),
 urllib.parse.quote("a b"), [*csv.reader(io.StringIO("1,2"))], textwrap.shorten("hello world", 8)]
"""
    found = await answer(python, code)
    assert found == ["2d711642", "1", "2.10", "a%20b", [["1", "2"]], "[...]"]
    assert len({await answer(python, "import random; random.random()") for _ in range(5)}) == 5


BREACHES = {
    "cpu": [
        "while True: pass",
        "10 ** 10 ** 9",
        "sum(range(10 ** 12))",
        "[x for x in iter(int, 1)]",
        "try:\n    while True: pass\nexcept BaseException:\n    pass",
        "import re; re.match(r'(a+)+$', 'a' * 60 + 'b')",
    ],
    "memory": [
        "'x' * 10**9",
        "bytearray(200 * 1024**2)",
        "x = []\nwhile True: x.append(bytes(10**6))",
        "x = 'x'\nwhile True: x += x",
        "list(range(10**8))",
    ],
    "output": [
        "while True: print('x' * 1000)",
        "print('x' * 300_000)",
        "'x' * 300_000",
        "'ü' * 140_000",
        "import sys; sys.stderr.write('y' * 10**6)",
        "import wit_world\nwhile True: wit_world.send('z' * 50_000)",
    ],
}


@pytest.mark.requirement("sandbox:snippets-limits", "sandbox:wasm-limits")
@pytest.mark.parametrize(("ended", "code"), [(name, code) for name, codes in BREACHES.items() for code in codes])
async def test_what_is_over_a_limit_ends_by_that_limits_name(python: WasmInterpreter, ended: str, code: str) -> None:
    limits = SnippetLimits(fuel=4_000_000_000, memory=96 * 1024**2, wall=60)
    done = await python.run(code, limits=limits)
    assert done.ended == ended, done.error
    assert done.error
    assert len(done.printed) <= limits.output + 100
    assert done.fuel <= limits.fuel
    assert await answer(python, "1 + 1") == 2


@pytest.mark.requirement("sandbox:snippets-limits")
@pytest.mark.parametrize(
    "code",
    [
        "def f(): return f()\nf()",
        "import sys; sys.setrecursionlimit(10**9)\ndef f(): return f()\nf()",
        "x = []\nfor _ in range(10**6): x = [x]\nrepr(x)",
        "eval('(' * 10**5 + ')' * 10**5)",
        "x = []\nfor _ in range(10**5): x = [x]\nx",
        "class A:\n    def __repr__(self): return repr(self)\nrepr(A())",
        "import re; re.compile('(' * 50000 + ')' * 50000)",
    ],
)
async def test_what_is_nested_too_deeply_breaks_only_the_snippet(python: WasmInterpreter, code: str) -> None:
    done = await python.run(code, limits=SnippetLimits(fuel=4_000_000_000, wall=60))
    assert done.ended in ("error", "memory", "cpu"), done
    assert await answer(python, "1 + 1") == 2


@pytest.mark.requirement("sandbox:snippets-limits")
async def test_time_is_over_also_for_what_needs_no_instructions(python: WasmInterpreter) -> None:
    never = asyncio.Event()

    async def wait(name: str, arguments: Any) -> None:
        await never.wait()

    for code in (
        "while True: pass",
        "print('so far')\ncall('wait')",
        "try:\n    call('x')\nfinally:\n    while True: pass",
    ):
        done = await python.run(code, limits=SnippetLimits(fuel=10**15, wall=0.2), calls=wait)
        assert done.ended == "wall"
        assert done.error == "stopped after 0.2 seconds"
        assert 0.19 < done.seconds < 5
        assert done.printed == ("so far\n" if "so far" in code else "")


@pytest.mark.requirement("sandbox:snippets-limits")
async def test_what_was_printed_before_a_limit_is_kept(python: WasmInterpreter) -> None:
    done = await python.run("print('one')\nprint('two')\nwhile True: pass", limits=SMALL)
    assert (done.ended, done.printed) == ("cpu", "one\ntwo\n")


@pytest.mark.requirement("sandbox:snippets-limits")
async def test_the_same_snippet_uses_the_same_fuel_and_ends_at_the_same_place(python: WasmInterpreter) -> None:
    code = "n = 0\nwhile True:\n    n += 1\n    if n % 10_000 == 0: print(n)"
    done = [await python.run(code, limits=SMALL) for _ in range(3)]
    assert {each.ended for each in done} == {"cpu"}
    assert len({each.printed for each in done}) == 1
    ended = [await python.run("sum(i * i for i in range(1000))") for _ in range(3)]
    used = [each.fuel for each in ended]
    assert max(used) - min(used) <= 0.02 * min(used)  # seeds differ in their length


@pytest.mark.requirement("sandbox:snippets-fresh")
async def test_nothing_of_a_snippet_is_there_in_the_next(python: WasmInterpreter) -> None:
    spoil = """
import builtins, json, sys, random, os, math
builtins.leftover = json.leftover = sys.leftover = 1
builtins.len = lambda x: 666
os.environ["LEFT"] = "over"
math.pi = 3
sys.modules["left"] = sys
sys.setrecursionlimit(77)
leftover = 1
"""
    look = """
import builtins, json, sys, os, math
[hasattr(m, "leftover") for m in (builtins, json, sys)] + ["leftover" in globals(), len("abc"), "LEFT" in os.environ,
 math.pi > 3.1, "left" in sys.modules, sys.getrecursionlimit() > 100]
"""
    clean = [False, False, False, False, 3, False, True, False, True]
    assert await answer(python, look) == clean
    await asyncio.gather(*(python.run(spoil) for _ in range(16)))
    found = await asyncio.gather(*(answer(python, look) for _ in range(16)))
    assert found == [clean] * 16


@pytest.mark.requirement("sandbox:snippets-parallel")
async def test_eight_run_at_once_and_the_loop_goes_on(python: WasmInterpreter) -> None:
    inside, full = 0, asyncio.Event()

    async def meet(name: str, arguments: Any) -> int:
        nonlocal inside
        inside += 1
        if inside == 8:
            full.set()
        await full.wait()
        return arguments + 1

    async with asyncio.timeout(30):
        found = await asyncio.gather(*(answer(python, f"call('meet', {n})", calls=meet) for n in range(8)))
    assert found == list(range(1, 9))


@pytest.mark.requirement("sandbox:snippets-parallel")
async def test_the_event_loop_turns_while_snippets_compute(python: WasmInterpreter) -> None:
    busy = asyncio.gather(*(python.run("while True: pass", limits=SMALL) for _ in range(8)))
    turns = 0
    while not busy.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert {each.ended for each in await busy} == {"cpu"}
    assert turns > 50


@pytest.mark.requirement("sandbox:snippets-parallel")
async def test_however_many_wait_there_are_never_more_than_eight_interpreters(
    snippets_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from holdfast.sandbox.snippets import engines

    made: list[Path] = []
    make = engines.Engine.__init__

    def count(self: engines.Engine, code: Path) -> None:
        made.append(code)
        make(self, code)

    monkeypatch.setattr(engines.Engine, "__init__", count)
    python = WasmInterpreter(snippets_folder)
    found = await asyncio.gather(*(answer(python, str(n)) for n in range(100)))
    await asyncio.to_thread(python.close)
    assert found == list(range(100))
    assert len(made) <= 8


@pytest.mark.requirement("sandbox:snippets-cancel")
async def test_a_hundred_snippets_that_are_cancelled_anywhere_leave_the_next_one_whole(python: WasmInterpreter) -> None:
    dice = random.Random(5)
    codes = ["while True: pass", "sum(range(10**5))", "x = ' '\nwhile True: print(x)", "call('never')", "1"]
    limits = SnippetLimits(fuel=10**15, wall=60, output=10**9)
    never = asyncio.Event()

    async def wait(name: str, arguments: Any) -> None:
        await never.wait()

    async def one(number: int) -> str:
        task = asyncio.create_task(python.run(codes[number % len(codes)], limits=limits, calls=wait))
        await asyncio.wait([task], timeout=dice.choice([0, 0.001, 0.005, 0.02]))
        task.cancel()
        await asyncio.wait([task])
        return "cancelled" if task.cancelled() else task.result().ended

    async with asyncio.timeout(60):
        ended = await asyncio.gather(*(one(n) for n in range(100)))
        assert ended.count("cancelled") >= 50
        assert set(ended) <= {"cancelled", "ok"}
        assert await asyncio.gather(*(answer(python, f"{n} + 1") for n in range(20))) == list(range(1, 21))
