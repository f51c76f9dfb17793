"""What a script finds in its interpreter: the functions that call us, in the words they are described with."""

from __future__ import annotations

from typing import Final

__all__ = ("PRELUDE",)

PRELUDE: Final = '''
import ast, json, linecache, sys, traceback

_host = call
_NAME = "<script>"


class ToolError(Exception):
    """What a tool did not do."""

    def __init__(self, message, code):
        super().__init__(message)
        self.code = code


def _ask(kind, /, **given):
    try:
        return _host(kind, given)
    except RecursionError:
        raise
    except RuntimeError as error:
        raise ToolError(str(error), "invalid_input") from None


def _value(came):
    if came["error"] is not None:
        raise ToolError(came["content"], came["error"])
    return came["content"]


def call(name, arguments=None, /, **more):
    return _value(_ask("call", name=name, arguments={**(arguments or {}), **more}))


def discover(keyword=""):
    return _ask("discover", keyword=keyword)


def describe(tool):
    return _ask("describe", tool=tool)


def log(*words):
    _ask("log", text=" ".join(map(str, words)))


def llm_call(prompt, context="", max_tokens=None):
    return _value(_ask("llm", prompts=[{"prompt": prompt, "context": context, "max_tokens": max_tokens}])[0])


def llm_batch(prompts):
    asked = [each if isinstance(each, dict) else {"prompt": each} for each in prompts]
    came = _ask("llm", prompts=asked) if asked else []
    return [{"text": None if each["error"] else each["content"],
             "error": each["content"] if each["error"] else None} for each in came]


def _text(value):
    if not isinstance(value, str):
        raise TypeError("the store keeps texts: json.dumps(...) the value first")
    return value


def store_write(key, value):
    return _ask("store_write", key=key, value=_text(value))


def store_read(key):
    return _ask("store_read", key=key)


def store_read_range(key, start, length):
    return _ask("store_read_range", key=key, start=start, length=length)


def store_list(prefix=""):
    return _ask("store_list", prefix=prefix)


def store_delete(key):
    return _ask("store_delete", key=key)


def store_search(text, limit=20):
    return _ask("store_search", text=text, limit=limit)


def _told(error):
    told = traceback.TracebackException.from_exception(error)
    left = [told]
    while left:
        each = left.pop()
        own = [frame for frame in each.stack or () if frame.filename == _NAME]
        each.stack = traceback.StackSummary.from_list(own) if own else None
        left += [more for more in (each.__cause__, each.__context__, *(each.exceptions or ())) if more is not None]
    text = "".join(told.format())
    return text[-8000:].encode("utf-8", "backslashreplace").decode()


def _run(code, args):
    linecache.cache[_NAME] = (len(code), None, code.splitlines(keepends=True), _NAME)
    names = {name: value for name, value in globals().items() if not name.startswith("_") and name != "inputs"}
    names.update(__name__="__main__", __builtins__=__builtins__, args=args)
    try:
        tree = ast.parse(code, _NAME)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, _NAME, "exec"), names)
        value = None
        if last is not None:
            value = eval(compile(ast.Expression(last.value), _NAME, "eval"), names)
        value = names.get("result") if value is None else value
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
        return {"result": value}
    except SystemExit as left:
        return {"result": None} if left.code in (None, 0) else {"error": "SystemExit: %s" % left.code}
    except MemoryError:
        raise
    except BaseException as error:
        return {"error": _told(error)}


result = _run(**inputs)
'''
"""Runs a script whose last expression, or variable `result`, is what it comes to."""
