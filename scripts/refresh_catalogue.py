"""Makes the catalogue's price data anew from the package genai-prices (MIT).

    python scripts/refresh_catalogue.py                 # the newest release, as of today
    python scripts/refresh_catalogue.py --version 0.2.3 # that one; of the one in use, as of the same day

The package is installed into a folder that is thrown away, and its data is read as text: nothing of it is imported or
run. The same release and day give the same bytes.

What is taken: the standard prices of chat models, with their tiers and the changes that are announced. A name is a
model's when the package itself says so of that name: its patterns are asked about names, never turned into any.
Where a price depends on the hour the dearest one is taken, since it bounds what a call can cost. What four rates and
an amount for each call cannot express (reasoning or citations that cost differently) is no price at all.
"""

from __future__ import annotations

import argparse
import ast
import datetime
import json
import re
import subprocess
import sys
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent / "src" / "holdfast" / "models" / "catalogue" / "data"
PACKAGE = "genai-prices"

OURS = {"aws": "bedrock", "x-ai": "xai"}
"""Providers we call otherwise."""
TAKEN = (
    *("anthropic", "arcee", "aws", "azure", "baseten", "cerebras", "cohere", "databricks", "deepseek", "fireworks"),
    *("google", "groq", "meta", "minimax", "mistral", "moonshotai", "novita", "openai", "openrouter"),
    *("ovhcloud", "perplexity", "together", "x-ai", "zai"),
)
"""Providers that serve chat models over an interface of their own, by the package's names."""
LOCAL = ("ollama",)
"""Providers that run what somebody installed: they have no prices."""
LIKE = {"azure"}
"""Providers whose other models cost what they cost where they come from, as the package says."""
NOT_OURS = {
    "google": r"claude|anthropic[./]",  # Vertex serves these, the Gemini interface does not
    "openai": r"(ada|babbage|curie|davinci|text-|gpt-3\.5-turbo-instruct)",  # no chat
}
"""What a provider's names begin with that are no chat models of the interface we speak."""
NO_CHAT = re.compile(
    r"embed|whisper|\btts\b|moderation|\bimage\b|realtime|\bocr\b|transcribe|rerank|\blive\b|native-audio|sonic|audio|voice"
)
EXTRA = {
    "anthropic": ("claude-sonnet-4-20250514", "claude-3-5-sonnet-latest"),
    "google": tuple(
        f"gemini-{name}-{end}"
        for name in ("1.5-flash", "1.5-pro", "2.0-flash", "2.0-flash-lite")
        for end in ("001", "002", "latest")
    ),
}
"""Names that vendors list and the package has only a pattern for."""
REGIONS = ("us", "eu", "apac", "jp", "au", "in", "us-gov", "ca", "sa", "global")
"""What Bedrock's inference profiles put before a model's name."""
DATES = {
    "anthropic": "-########",
    "google": "-##-####",
    "openai": "-####-##-##",
    "openrouter": "-########",
    "x-ai": "-########",
}
"""How a provider writes dates behind names; # is a digit."""
PROBES = ("20310102", "19990909", "20250101")
"""A pattern counts where the package takes each of these for the same model."""
RATES = ("input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok")
SPEAKS = ("output_audio_mtok", "output_image_mtok", "output_video_mtok", "input_image_mtok")
"""Prices that only models have which make or take more than we send."""
UNSPEAKABLE = ("output_reasoning_mtok", "output_citation_mtok")

Node = dict[str, Any]
Sheet = list[tuple[int, list[Decimal | None]]]
"""The four rates from each length of input on."""


def read_package(text: str) -> list[Node]:
    """Returns the providers in the package's data, without running any of it."""
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.AnnAssign) and ast.unparse(statement.target) == "providers" and statement.value:
            return _value(statement.value)
    raise SystemExit("there are no providers in the package's data: its form has changed, look at it")


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant():
            return node.value
        case ast.List():
            return [_value(each) for each in node.elts]
        case ast.Dict():
            return {_value(key): _value(each) for key, each in zip(node.keys, node.values, strict=True) if key}
        case ast.Attribute():
            return ast.unparse(node)
        case ast.Call(func=ast.Name("Decimal"), args=[ast.Constant(str(amount))]):
            return Decimal(amount)
        case ast.Call(func=ast.Attribute(ast.Name("datetime"))):  # its dates and times of day
            return tuple(_value(each) for each in node.args)
        case ast.Call(func=ast.Name(kind), args=[]):
            return {"kind": kind} | {str(each.arg): _value(each.value) for each in node.keywords}
        case _:
            raise SystemExit(f"line {node.lineno} of the package's data has a form nobody knows: look at it")


# ---- names ------------------------------------------------------------------------------------------------------


def matches(clause: Node, name: str) -> bool:
    """Returns whether a clause of the package takes a name."""
    match clause["kind"]:
        case "ClauseOr":
            return any(matches(each, name) for each in clause["or_"])
        case "ClauseAnd":
            return all(matches(each, name) for each in clause["and_"])
        case "ClauseRegex":
            return re.search(clause["regex"], name) is not None
        case "ClauseEquals":
            return name == clause["equals"].lower()
        case "ClauseStartsWith":
            return name.startswith(clause["starts_with"].lower())
        case "ClauseEndsWith":
            return name.endswith(clause["ends_with"].lower())
        case "ClauseContains":
            return clause["contains"].lower() in name
        case kind:
            raise SystemExit(f"a clause of kind {kind!r} is new: look at it")


def words(clause: Node, kind: str, field: str) -> list[str]:
    """Returns what all clauses of a kind say."""
    inner = [*clause.get("or_", ()), *clause.get("and_", ())]
    own = [str(clause[field])] if clause["kind"] == kind else []
    return own + [word for each in inner for word in words(each, kind, field)]


def names_of(model: Node, provider: Node) -> list[str]:
    """Returns the names that are this model's, the one it goes by first; # in a name is any digit."""

    def ours(name: str) -> bool:
        first = next((each for each in provider["models"] if matches(each["match"], name.lower())), None)
        return first is model

    base = model["id"].removeprefix("regional.")
    told = [base, *words(model["match"], "ClauseEquals", "equals"), *EXTRA.get(provider["id"], ())]
    if provider["id"] == "aws":
        told += [f"{region}.{base}" for region in REGIONS if not base.startswith("global.")]
    begins = [
        each for each in words(model["match"], "ClauseStartsWith", "starts_with") if (base + "-").startswith(each + "-")
    ]
    names = [name for name in dict.fromkeys(told) if _plain(name, provider["id"]) and ours(name)]
    form = DATES.get(provider["id"], "")
    for name in dict.fromkeys([*names, *begins]) if form else ():
        dated = re.search(r"\d{3}$|latest$|:", name) is not None
        if _plain(name, provider["id"]) and not dated and all(ours(name + _filled(form, each)) for each in PROBES):
            names.append(name + form)
    return names[:1] + sorted(set(names[1:]))


def _filled(form: str, digits: str) -> str:
    rest = iter(digits)
    return "".join(next(rest) if each == "#" else each for each in form)


def _plain(name: str, provider: str) -> bool:
    prefix = provider + "/" if provider != "openrouter" else " "
    begins = NOT_OURS.get(provider)
    refused = begins is not None and re.match(begins, name) is not None
    return not refused and not name.startswith(prefix) and not re.search(r"[\s#@]|-$", name)


# ---- prices -----------------------------------------------------------------------------------------------------


def sheet_of(prices: Node) -> Sheet | None:
    """Returns one price list as rates from each length of input on; None where they do not say what a call costs."""
    if any(key in prices for key in UNSPEAKABLE):
        return None
    told = [prices.get(key) for key in RATES]
    if told[0] is None or told[1] is None:
        return None
    starts = sorted({tier["start"] for each in told if isinstance(each, dict) for tier in each["tiers"]})
    sheet = [(start, [_rate(each, start) for each in told]) for start in (0, *starts)]
    return sheet if any(sheet[0][1]) else None  # nothing is for nothing: what costs zero is a price nobody gave


def _rate(told: Decimal | Node | None, start: int) -> Decimal | None:
    if not isinstance(told, dict):
        return told
    reached = [tier["price"] for tier in told["tiers"] if tier["start"] <= start and start]
    return reached[-1] if reached else told["base"]


def _dearest(one: Sheet, other: Sheet) -> Sheet:
    starts = sorted({start for start, _ in (*one, *other)})

    def at(sheet: Sheet, start: int) -> list[Decimal | None]:
        return [rates for begin, rates in sheet if begin <= start][-1]

    def dearer(left: list[Decimal | None], right: list[Decimal | None]) -> list[Decimal | None]:
        sides = (
            (a if a is not None else left[0], b if b is not None else right[0])
            for a, b in zip(left, right, strict=True)
        )
        known = [a is not None or b is not None for a, b in zip(left, right, strict=True)]
        return [
            max(a, b) if told and a is not None and b is not None else None
            for (a, b), told in zip(sides, known, strict=True)
        ]

    return [(start, dearer(at(one, start), at(other, start))) for start in starts]


def price_on(model: Node, day: tuple[int, ...]) -> tuple[Node, Sheet | None, bool]:
    """Returns the price list of a day with its rates in the dearest hours, and whether hours make a difference."""
    listed = model["prices"] if isinstance(model["prices"], list) else [{"prices": model["prices"]}]
    limits = [each.get("constraint") or {"kind": ""} for each in listed]
    hours = sorted({limit[key] for limit in limits for key in ("start_time", "end_time") if key in limit} | {(0, 0)})

    def active(limit: Node, hour: tuple[int, ...]) -> bool:
        if limit["kind"] == "StartDateConstraint":
            return day >= limit["start_date"]
        if limit["kind"] == "TimeOfDateConstraint":
            start, end = limit["start_time"], limit["end_time"]
            return start <= hour < end if start <= end else hour >= start or hour < end
        return True

    reached = []
    for hour in hours:
        chosen = [each["prices"] for each, limit in zip(listed, limits, strict=True) if active(limit, hour)]
        reached.append(chosen[-1] if chosen else listed[0]["prices"])
    sheets = [sheet_of(each) for each in reached]
    whole = [each for each in sheets if each is not None]
    if len(whole) < len(sheets):
        return reached[0], None, False
    dearest = whole[0]
    for each in whole[1:]:
        dearest = _dearest(dearest, each)
    return reached[0], dearest, any(each != whole[0] for each in whole)


def _written(sheet: Sheet) -> Node:
    def row(rates: list[Decimal | None]) -> list[int | float | None]:
        plain = [None if each is None else int(each) if each == int(each) else float(each) for each in rates]
        while plain and plain[-1] is None:
            plain.pop()
        return plain

    tiers = [[start, *row(rates)] for start, rates in sheet[1:]]
    return {"price": row(sheet[0][1])} | ({"tiers": tiers} if tiers else {})


def entry_of(model: Node, provider: Node, day: tuple[int, ...]) -> Node | None:
    """Returns a model as the catalogue keeps it; None for what is no chat model or has neither price nor window."""
    prices, sheet, by_hour = price_on(model, day)
    names = names_of(model, provider)
    window = model.get("context_window")
    if not names or NO_CHAT.search(names[0].lower()) or any(key in prices for key in SPEAKS):
        return None
    if any(key in prices for key in RATES) and "output_mtok" not in prices:
        return None  # embeddings
    if sheet is None and window is None:
        return None
    entry: Node = {"names": names} | (_written(sheet) if sheet else {})
    if sheet and "requests_kcount" in prices:
        entry["request"] = float(prices["requests_kcount"] / 1000)
    if window is not None:
        entry["window"] = window
    if by_hour:
        entry["by_hour"] = True
    if model.get("deprecated"):
        entry["old"] = True
    if later := _later(model, day, sheet):
        entry["later"] = later
    return entry


def _later(model: Node, day: tuple[int, ...], now: Sheet | None) -> list[Node]:
    """Returns the price lists that are announced, each with the day from which it holds."""
    listed = model["prices"] if isinstance(model["prices"], list) else []
    starts = {each["constraint"]["start_date"] for each in listed if "start_date" in (each.get("constraint") or {})}
    found: list[Node] = []
    for start in sorted(each for each in starts if each > day):
        _, sheet, _ = price_on(model, start)
        if sheet != now:
            found.append({"since": datetime.date(*start).isoformat()} | (_written(sheet) if sheet else {}))
        now = sheet
    return found


# ---- files ------------------------------------------------------------------------------------------------------


def files_of(providers: list[Node], version: str, day: str) -> dict[str, str]:
    """Returns the catalogue's files by name, as text: one for each provider and one that says what they are."""
    date = tuple(map(int, day.split("-")))
    files: dict[str, str] = {}
    known: dict[str, Node] = {name: {} for name in LOCAL}
    for provider in providers:
        if provider["id"] not in TAKEN:
            continue
        entries = [entry for each in provider["models"] if (entry := entry_of(each, provider, date))]
        name = OURS.get(provider["id"], provider["id"])
        lines = ",\n".join(json.dumps(each, separators=(",", ":"), ensure_ascii=False) for each in entries)
        files[f"{name}.json"] = f'{{"release":"{version} {day}","models":[\n{lines}\n]}}\n'
        like = provider.get("fallback_model_providers") or () if provider["id"] in LIKE else ()
        known[name] = {"like": [OURS.get(each, each) for each in like]} if like else {}
    for name in LOCAL:
        files[f"{name}.json"] = f'{{"release":"{version} {day}","models":[]}}\n'
    about = {
        "source": f"{PACKAGE} {version}",
        "licence": "MIT, Copyright (c) Pydantic Services Inc. 2025 to present; its text is in LICENSE.txt",
        "address": "https://github.com/pydantic/genai-prices",
        "what": "windows and prices of chat models in dollars per million tokens, standard tier",
        "day": day,
        "release": f"{version} {day}",
        "providers": dict(sorted(known.items())),
    }
    files["about.json"] = json.dumps(about, indent=1) + "\n"
    return files


def install(version: str | None, folder: Path) -> None:
    """Puts the package into a folder."""
    wanted = f"{PACKAGE}=={version}" if version else PACKAGE
    call = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*call, "--target", str(folder), wanted], check=True)


def main() -> None:
    """Replaces the catalogue's data."""
    parser = argparse.ArgumentParser(description="Make the catalogue's data anew from genai-prices.")
    parser.add_argument("--version", help="which release; the newest by default")
    parser.add_argument(
        "--day", help="prices as of this day (YYYY-MM-DD); today by default, or the release's earlier day"
    )
    parser.add_argument("--from", dest="source", type=Path, help="a folder the package is installed in, instead")
    parser.add_argument("--into", type=Path, default=FOLDER, help="where the files go")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.source or Path(scratch)
        if given.source is None:
            install(given.version, folder)
        version = next(folder.glob("genai_prices-*.dist-info")).name.removesuffix(".dist-info").partition("-")[2]
        providers = read_package((folder / "genai_prices" / "data.py").read_text("utf-8"))
        licence = next(folder.glob("genai_prices-*.dist-info/licenses/LICENSE")).read_text("utf-8")
    before = given.into / "about.json"
    release = json.loads(before.read_text("utf-8"))["release"].split() if before.exists() else ["", ""]
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    files = {"LICENSE.txt": licence} | files_of(
        providers, version, given.day or (release[1] if release[0] == version else today)
    )
    given.into.mkdir(parents=True, exist_ok=True)
    for old in given.into.glob("*.json"):
        if old.name not in files:
            old.unlink()
    for name, text in files.items():
        (given.into / name).write_text(text, "utf-8")
    print(f"{len(files)} files, {sum(map(len, files.values())):,} characters, {PACKAGE} {version}")


if __name__ == "__main__":
    main()
