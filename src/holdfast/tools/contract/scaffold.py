"""Writes a small project of a tool that speaks the contract: Python with nothing but its standard library.

What is written runs as it is, passes the fixtures it comes with, and belongs to whoever asked for it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from holdfast.errors import UsageError

__all__ = ("scaffold",)

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")

_TOOL: Final = '''"""The tool @NAME@, as a service that speaks contract v1.

    python tool.py --port 8765

With TOOL_TOKEN set, only requests with `Authorization: Bearer <its value>` are let in. What it does is `run`; the rest
of this file is the contract.
"""

import argparse
import hmac
import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME = "@NAME@"
VERSION = "v1"
LARGEST = 4 * 1024 * 1024


def run(arguments):
    """Does the work. A ValueError is told to the model as wrong arguments."""
    text = arguments.get("text")
    if not isinstance(text, str):
        raise ValueError("text is missing, or is no text")
    return text.upper()


class Refused(Exception):
    """Why there is no result, in the words of the contract."""

    def __init__(self, code, reason, message, status="error", retryable=False, **details):
        super().__init__(message)
        self.status = status
        self.fault = {
            "code": code,
            "reason": reason,
            "retryable": retryable,
            "message": message,
            "details": details,
        }


def answer(body):
    """Returns the answer to the bytes of a request."""
    began = time.monotonic()
    request, said = {}, {"status": "ok", "output": {}}
    try:
        request = checked(body)
        said["output"] = {"result": run(request.get("input") or {})}
    except Refused as error:
        request = request or readable(body)
        said = {"status": error.status, "error": error.fault}
    except ValueError as error:
        fault = Refused("invalid_input", "tool_invalid_input", str(error)).fault
        said = {"status": "error", "error": fault}
    except Exception as error:  # what the tool did wrong must not end the service
        message = f"{type(error).__name__}: {error}"
        said = {"status": "error", "error": Refused("execution_failed", "tool_backend_failure", message).fault}
    attempt = request.get("attempt")
    took = int((time.monotonic() - began) * 1000)
    return {
        "tool_contract_version": VERSION,
        "request_id": request.get("request_id") if isinstance(request.get("request_id"), str) else "",
        "usage": {"duration_ms": took, "attempt": attempt if type(attempt) is int and attempt > 0 else 1},
        "trace": request.get("trace") if isinstance(request.get("trace"), dict) else {},
        **said,
    }


def readable(body):
    """Returns what can be read of a request that is none."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def checked(body):
    """Returns a request that is one."""
    request = readable(body)
    tool = request.get("tool")
    name = tool.get("name") if isinstance(tool, dict) else None
    for field, good in (
        ("tool_contract_version", request.get("tool_contract_version") == VERSION),
        ("request_id", isinstance(request.get("request_id"), str) and request["request_id"].strip()),
        ("tool.name", isinstance(name, str) and name.strip()),
        ("input", isinstance(request.get("input", {}), dict)),
    ):
        if not good:
            raise Refused("invalid_input", "tool_invalid_input", f"{field} is missing or wrong", field=field)
    if name != NAME:
        raise Refused("unsupported_tool", "tool_unsupported", f"there is no tool {name[:80]!r} here")
    return request


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > LARGEST:
            self.close_connection = True
            return self.reply(413, {"error": f"a request has a length, of {LARGEST} bytes at most"})
        body = self.rfile.read(int(length))
        token, given = os.environ.get("TOOL_TOKEN", ""), self.headers.get("Authorization", "")
        if token and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            return self.reply(401, {"error": "not with these credentials"})
        return self.reply(200, answer(body))

    def reply(self, status, said):
        data = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        """Prints nothing: requests may hold what nobody else should read."""


def main():
    parser = argparse.ArgumentParser(description=f"Serves the tool {NAME}.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8765, help="0 for any that is free")
    options = parser.parse_args()
    server = ThreadingHTTPServer((options.host, options.port), Handler)
    print(f"http://{options.host}:{server.server_port}/", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    main()
'''

_FIXTURES: Final = """\
- name: gives the text back in capitals
  input: {text: hello}
  expected_output: HELLO
  max_latency: 5
- name: wants a text
  input: {}
  expected_status: error
  expected_code: invalid_input
  expected_reason: tool_invalid_input
  expected_retryable: false
"""

_TEST: Final = '''"""Tests of the tool @NAME@: python -m unittest"""

import json
import unittest

import tool


def request(**arguments):
    return {
        "tool_contract_version": "v1",
        "request_id": "r1",
        "tool": {"name": tool.NAME},
        "input": arguments,
        "attempt": 2,
    }


class Answers(unittest.TestCase):
    def test_it_does_its_work(self):
        said = tool.answer(json.dumps(request(text="hello")).encode())
        self.assertEqual((said["status"], said["output"]), ("ok", {"result": "HELLO"}))
        self.assertEqual((said["request_id"], said["usage"]["attempt"]), ("r1", 2))

    def test_what_is_no_request_is_refused(self):
        said = tool.answer(json.dumps(request(text="x") | {"tool_contract_version": "v0"}).encode())
        self.assertEqual(said["error"]["details"], {"field": "tool_contract_version"})
        self.assertEqual(tool.answer(b"\\xff")["status"], "error")


if __name__ == "__main__":
    unittest.main()
'''

_README: Final = """\
# @NAME@

A tool as a service that speaks contract v1, in Python, with nothing but its standard library.

    python tool.py --port 8765
    python -m unittest

`tool.py` holds the work (`run`) and the contract around it; `fixtures.yaml` holds calls and what they have to come to.
"""

_FILES: Final = {"tool.py": _TOOL, "fixtures.yaml": _FIXTURES, "test_tool.py": _TEST, "README.md": _README}


def scaffold(folder: Path, name: str) -> tuple[Path, ...]:
    """Writes the project of a tool into a folder, and returns the files; nothing that is there is overwritten.

    Raises:
        UsageError: the name is none that a tool can have, one of the files is there, or it cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name of a tool: write small letters, digits and underscores, 64 at most, a letter first"
        )
    paths = {folder / each: text.replace("@NAME@", name) for each, text in _FILES.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if there := [path for path in paths if path.is_symlink() or path.exists()]:
            raise UsageError(f"{str(there[0])!r} is there already, and nothing was written: choose another folder")
        for path, text in paths.items():
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise UsageError(f"{str(error.filename or folder)!r} cannot be written ({error.strerror})") from error
    return tuple(paths)
