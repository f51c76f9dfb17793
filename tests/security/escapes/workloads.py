"""Forty ordinary things that must go on working in every sandbox: one that blocks everything stops every attempt, too.

Each is a few commands for bash, started one after another in the same workspace, and what the last one prints.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from typing import Final, NamedTuple

from tests.security.escapes.running import ENV, Runner

__all__ = ("WORKLOADS", "Workload", "lay_out", "missing", "perform")

_SECONDS = 30.0
_BRING = ("py", "pytest", "_pytest", "pluggy", "iniconfig", "packaging")


class Workload(NamedTuple):
    """One thing that is to work."""

    name: str
    commands: tuple[str, ...]
    expected: str
    """What the last command prints, without the white space around it."""
    needs: tuple[str, ...] = ()
    """Programs, besides those that every system has."""


def _python(name: str, expected: str, code: str) -> Workload:
    command = f"cat > program.py <<'END'\n{dedent(code).strip()}\nEND\npython3 program.py"
    return Workload(name, (command,), expected, ("python3",))


def _git(name: str, expected: str, commands: str) -> Workload:
    start = "git init -q -b main . && git config user.name a && git config user.email a@example.com"
    first = f"{start} && echo one > f && git add f && git commit -qm first\n"
    return Workload(name, (first + dedent(commands).strip(),), expected, ("git",))


def _shell(name: str, expected: str, commands: str, *needs: str) -> Workload:
    return Workload(name, (dedent(commands).strip(),), expected, needs)


_PROGRAMS = (
    _python(
        "python-sqlite",
        "7",
        """
        import sqlite3
        d = sqlite3.connect("d.db")
        d.execute("pragma journal_mode=wal")
        d.execute("create table t(x)")
        d.execute("insert into t values (7)")
        d.commit()
        print(d.execute("select x from t").fetchone()[0])
        """,
    ),
    _python(
        "python-multiprocessing",
        "285 3",
        """
        from multiprocessing import Pool, Value
        def square(x):
            return x * x
        if __name__ == "__main__":
            with Pool(2) as pool:
                print(sum(pool.map(square, range(10))), Value("i", 3).value)
        """,
    ),
    _python(
        "python-threads",
        "4950",
        """
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(20) as pool:
            print(sum(pool.map(lambda x: x, range(100))))
        """,
    ),
    _shell(
        "python-venv",
        "True",
        "python3 -m venv --without-pip v && v/bin/python -c 'import sys; print(sys.prefix != sys.base_prefix)'",
        "python3",
    ),
    _python(
        "python-ssl",
        "OpenSSL",
        """
        import ssl
        ssl.create_default_context()
        print(ssl.OPENSSL_VERSION.split()[0])
        """,
    ),
    _python(
        "python-tempfile",
        "100",
        """
        import os, tempfile
        with tempfile.TemporaryDirectory() as d, tempfile.NamedTemporaryFile(dir=d) as f:
            f.write(b"x" * 100)
            f.flush()
            print(os.stat(f.name).st_size)
        """,
    ),
    _python(
        "python-subprocess",
        "3 b'in' b''",
        """
        import subprocess
        done = subprocess.run(["sh", "-c", "cat; exit 3"], input=b"in", capture_output=True)
        print(done.returncode, done.stdout, done.stderr)
        """,
    ),
    _python(
        "python-asyncio-server",
        "HELLO",
        """
        import asyncio
        async def shout(reader, writer):
            writer.write((await reader.readline()).upper())
            writer.close()
        async def main():
            server = await asyncio.start_server(shout, "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"hello\\n")
            print((await reader.read()).decode())
            writer.close()
            server.close()
        asyncio.run(main())
        """,
    ),
    _python(
        "unix-socket",
        "yes",
        """
        import socket
        s, c = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        s.bind("s")
        s.listen()
        c.connect("s")
        s.accept()[0].send(b"yes")
        print(c.recv(9).decode())
        """,
    ),
    _python(
        "memory-mapping",
        "here",
        """
        import mmap
        f = open("m", "w+b")
        f.truncate(8192)
        m = mmap.mmap(f.fileno(), 0)
        m[4096:4100] = b"here"
        m.flush()
        f.seek(4096)
        print(f.read(4).decode())
        """,
    ),
    _python(
        "locale",
        "gr\u00fc\u00df utf-8",
        """
        import locale, sys
        locale.setlocale(locale.LC_ALL, "")
        print("gr\\u00fc\\u00df", sys.getfilesystemencoding())
        """,
    ),
    _python(
        "many-files",
        "5000",
        """
        import os
        for i in range(5000):
            open(f"{i}", "w").close()
        print(len(os.listdir(".")) - 1)
        for i in range(5000):
            os.unlink(f"{i}")
        """,
    ),
    _shell(
        "pytest",
        "1 passed",
        r"""
        printf 'def test_a(tmp_path):\n    (tmp_path / "x").write_text("y")\n' > test_it.py
        PYTHONPATH=../lib python3 -m pytest -q -p no:cacheprovider --color=no 2>&1 | grep -o '1 passed'
        """,
        "python3",
    ),
    _git("git-commit", "first\n0", "git log --format=%s && git status --short | wc -l"),
    _git(
        "git-merge",
        "first second third",
        """
        git checkout -qb side && echo two > g && git add g && git commit -qm second
        git checkout -q main && echo three > h && git add h && git commit -qm third
        git merge -q --no-edit side && git log --format=%s --no-merges | sort | xargs
        """,
    ),
    _git(
        "git-worktree", "one\n2", "git worktree add -q ../beside-$$ && cat ../beside-$$/f && git worktree list | wc -l"
    ),
    _shell(
        "make",
        "made",
        r"""
        printf 'all: b\n\t@cat b\nb: a\n\t@cp a b\n' > Makefile
        echo made > a; make -s
        """,
        "make",
    ),
    _shell(
        "gcc",
        "compiled",
        r"""
        printf '#include <stdio.h>\nint main(void) { puts("compiled"); return 0; }\n' > p.c
        gcc -O1 -o p p.c && ./p
        """,
        "gcc",
    ),
    _shell(
        "node-script",
        "9",
        """
        cat > s.js <<'END'
        const fs = require("fs")
        fs.writeFileSync("f", "x".repeat(9))
        setTimeout(() => console.log(fs.statSync("f").size), 1)
        END
        node s.js
        """,
        "node",
    ),
    _shell(
        "node-child-process",
        "from-child",
        """node -e 'console.log(require("child_process").execSync("echo from-child").toString().trim())'""",
        "node",
    ),
)
_SHELL = (
    _shell("shell-pipeline", "a=1 b=2", r"""printf 'b\na\nb\n' | sort | uniq -c | awk '{print $2 "=" $1}' | xargs"""),
    _shell(
        "shell-substitution",
        "42\nsame",
        'f() { echo "$(( $1 * 2 ))"; }; f 21; diff <(echo a) <(echo a) && echo same',
    ),
    _shell("tar-gzip", "x", "mkdir d; echo x > d/f; tar czf d.tgz d; rm -r d; tar xzf d.tgz; cat d/f", "tar", "gzip"),
    _shell("xz", "squeezed", "echo squeezed | xz -c > f.xz && xz -dc f.xz", "xz"),
    _shell("sed-awk-perl", "B C", "echo 'a b' | sed 's/a/c/' | awk '{print $2, $1}' | perl -pe 'tr/a-z/A-Z/'", "perl"),
    _shell(
        "find-xargs",
        "1.py 2.py",
        """
        mkdir -p a/b && touch a/1.py a/b/2.py a/3.txt
        find . -name '*.py' -print0 | xargs -0 -n1 basename | sort | xargs
        """,
    ),
    _shell("symbolic-links", "x\nx\nd/f", "mkdir d; echo x > d/f; ln -s d/f l; ln -s d m; cat l m/f; readlink l"),
    _shell("hard-links", "x\ny\n2", "echo x > a && ln a b && echo y >> b && cat a && stat -c %h a"),
    _shell(
        "file-locks",
        "held\nfree",
        "touch l; exec 9>l; flock 9; flock -n l true || echo held; flock -u 9; flock -n l echo free",
        "flock",
    ),
    _shell("named-pipes", "through", "mkfifo p && (echo through > p &) && cat p"),
    _shell("dev-shm", "shared", "echo shared > /dev/shm/mine-$$ && cat /dev/shm/mine-$$ && rm /dev/shm/mine-$$"),
    Workload(
        "files-survive",
        (
            'mktemp /tmp/kept-XXXXXX > name; tee < name "$(cat name)"',
            'cat name "$(cat name)" | uniq | wc -l; rm "$(cat name)"',
        ),
        "1",
    ),
    _shell(
        "signals",
        "caught\n137",
        "trap 'echo caught' USR1; kill -USR1 $$; (sh -c 'kill -9 $$'; exit $?) 2>/dev/null; echo $?",
    ),
    _shell("timeout", "124", "timeout 0.1 sh -c 'while :; do :; done'; echo $?", "timeout"),
    _shell(
        "background-jobs",
        "1 2 3\ndone",
        "for i in 1 2 3; do (echo $i > j$i) & done; wait; cat j1 j2 j3 | xargs; echo done",
    ),
    _shell("large-output", "x" * 300_000, r"head -c 300000 /dev/zero | tr '\0' x"),
    _shell(
        "unicode-names",
        "gr\u00fc\u00df \u65e5\u672c.txt\n1",
        "touch 'gr\u00fc\u00df \u65e5\u672c.txt' && ls && find . -name '*\u672c*' | wc -l",
    ),
    _shell(
        "scripts",
        "it ran\n755",
        r"printf '#!/bin/sh\necho $1 ran\n' > s && chmod +x s && ./s it && stat -c %a s",
    ),
    _shell(
        "environment",
        "A=1\nB=two words\nhome path",
        "A=1 B='two words' env | grep -E '^(A|B)=' | sort; echo ${HOME:+home} ${PATH:+path}",
    ),
    _shell(
        "devices",
        "3\n3\nfull",
        """
        head -c 3 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c; echo x > /dev/null
        echo x 2>/dev/null > /dev/full || echo full
        """,
    ),
)
WORKLOADS: Final = (*_PROGRAMS, *_SHELL)


def missing(workload: Workload) -> list[str]:
    """Returns which of its programs this machine does not have."""
    return [program for program in workload.needs if shutil.which(program, path=ENV["PATH"]) is None]


def lay_out(work: Path) -> None:
    """Puts into the workspace what the workloads bring along: a test runner that any Python can import."""
    (work / "lib").mkdir()
    for name in _BRING:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        source = Path(spec.origin)
        kept = shutil.ignore_patterns("__pycache__")
        if source.name == "__init__.py":
            shutil.copytree(source.parent, work / "lib" / name, ignore=kept)
        else:
            shutil.copy(source, work / "lib")
    for path in (work, *work.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)


async def perform(run: Runner, work: Path, workload: Workload, env: Mapping[str, str] = ENV) -> str:
    """Does one of them, in a folder of its own in the workspace, and returns what it printed."""
    output, code = "", 0
    start = f"mkdir -p {workload.name} && cd {workload.name} && "
    for command in workload.commands:
        code, output = await run(("bash", "-c", f"{start}{{ {command}\n}}"), work, env, _SECONDS)
        if code:
            return f"it ended with {code}: {output[-800:]}"
    return output.strip()
