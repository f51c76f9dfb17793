"""The console among people who wish it ill: what a model or a tool says, and pages of other sites."""

from __future__ import annotations

import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.consoling import PASSWORD, Stage, Watched, browser, staged

from holdfast.testing import Call, Turn
from holdfast.testing.scripts import ScriptRequest, Tokens

MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script><a href='javascript:alert(3)'>here</a>"
LINKS = (
    "[one](javascript:alert(1)) [two](JaVaScRiPt:alert(1)) [three](data:text/html,<script>alert(1)</script>) "
    "[four](vbscript:x) [five](/v1/auth/logout) [six](//127.0.0.1:1/x) [seven](<java\tscript:alert(1)>) "
    '![eight](http://127.0.0.1:1/pixel.png) [nine](https://example.com/a"onclick="alert(1)) <javascript:alert(1)> '
    "[ten](blob:x) [eleven](file:///etc/passwd)"
)
STRANGE = r"safe\342\200\256txt.exe \033]8;;javascript:alert(1)\007link\033]8;;\007 \033[2J \033[31mred\033[0m"
HIDDEN = "ls \x1b]0;; rm -rf important \x07\x1b[8m; rm -rf more\x1b[0m\u200b" + "\n" * 3 + " " * 9_000 + "; rm -rf all"
TEDIOUS = (
    "`",
    "`` ` ",
    "*",
    "**a ",
    "*a",
    "_a ",
    "__a ",
    "~~",
    "[",
    "[a",
    "![a](",
    "[](",
    "[a](b(",
    "https://a(",
    "\\[",
    "> ",
    "- ",
    "| a |",
    "#",
    " ",
    "'\\",
)
"""Of each, repeated, a careless reader of marks never comes to an end."""


def script(request: ScriptRequest) -> Turn:
    """A model that somebody else speaks through."""
    first, used = request.first_user_text.split()[0], Tokens(input_tokens=10, output_tokens=10)
    if first == "tedious":
        return Turn("\n\n".join(f"x{each * (19_000 // len(each))}y" for each in TEDIOUS) + "\n\nthe end", usage=used)
    if first == "hidden":
        return Turn("Done.") if request.answers else Turn("One thing:", calls=[Call("bash", {"command": HIDDEN})])
    if first != "hostile":
        return Turn("Hello.", usage=used)
    options = [{"label": MARKUP, "description": MARKUP}, {"label": "no"}]
    calls = (
        Call("write", {"path": "<b onclick=alert(1)>.html", "content": MARKUP}),
        Call("bash", {"command": f"printf '{STRANGE}'; echo {MARKUP!r}"}),
        Call("grep", {"pattern": "img"}),
        Call("question", {"questions": [{"question": MARKUP, "header": MARKUP[:20], "options": options}]}),
    )
    if request.answers < len(calls):
        return Turn(MARKUP, calls=[calls[request.answers]], thinking=MARKUP, usage=used)
    return Turn(f"# {MARKUP}\n\n{LINKS}\n\n```html\n{MARKUP}\n```\n\n| {MARKUP} |\n|---|\n| {MARKUP} |", usage=used)


@pytest.fixture(scope="module")
def chromium() -> Generator[Browser]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stage]:
    with staged(tmp_path_factory.mktemp("hostile"), script) as found:
        yield found


def start(page: Page, text: str, name: str, mode: str = "Ask nothing") -> None:
    page.goto("/console/new")
    page.get_by_label("Describe the job").fill(text)
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("What it may do").select_option(label=mode)
    page.get_by_label("Describe the job").press("Enter")
    expect(page.get_by_role("heading", name=name)).to_be_visible()


def _harmless(page: Page) -> None:
    """Nothing of what was said became an element of its own, or a way to anywhere but the web."""
    made = (
        "main :is(script, img, iframe, object, embed, link, style, base, meta, form:not([class]), [onclick], [onerror])"
    )
    assert page.locator(made).count() == 0
    addresses: list[str] = page.eval_on_selector_all("main a", "all => all.map((each) => each.getAttribute('href'))")
    assert {each.split(":")[0] for each in addresses} <= {"/console/", "https", "http"}, addresses
    rels: list[str] = page.eval_on_selector_all("main a[target]", "all => all.map((each) => each.rel)")
    assert all("noopener" in each and "noreferrer" in each for each in rels)


@pytest.mark.requirement("server_console:text-only")
def test_what_models_and_tools_say_is_text_wherever_it_is_shown(stage: Stage, chromium: Browser) -> None:
    watched = Watched(chromium, stage.url, viewport={"width": 1440, "height": 900})
    page = watched.page
    watched.log_in()
    start(page, f"hostile {MARKUP}", "hostile")
    gate = page.get_by_label("A question for you")
    expect(gate).to_contain_text("<script>alert(2)</script>")
    _harmless(page)
    gate.get_by_role("radio").first.check()
    gate.get_by_role("button", name="Send answer").click()
    expect(page.locator(".end")).to_contain_text("Done")
    feed = page.locator(".feed")
    expect(feed.locator("h3")).to_have_text(MARKUP)
    expect(feed.locator("th")).to_have_text(MARKUP)
    expect(feed.get_by_role("region", name="bash, done")).to_contain_text(
        "safe␦202etxt.exe ␛]8;;javascript:alert(1)␇link␛]8;;␇ ␛[2J red"
    )
    closed = page.locator(".call > .line[aria-expanded=false]")
    while closed.count():
        closed.first.click()
    for each in page.locator(".thinking summary").all():
        each.click()
    _harmless(page)
    assert {each.get_attribute("href") for each in feed.locator("a").all()} == {
        "http://127.0.0.1:1/pixel.png",
        "https://example.com/a%22onclick=%22alert(1)",
    }
    events = page.get_by_role("listbox", name="Events").get_by_role("option")
    page.get_by_role("listbox", name="Events").focus()
    page.keyboard.press("Home")
    for _ in range(events.count()):
        page.keyboard.press("ArrowDown")
    expect(page.get_by_label("What the event says")).to_be_visible()
    page.get_by_role("button", name="Files", exact=True).click()
    expect(page.locator(".changes")).to_contain_text("<b onclick=alert(1)>.html")
    _harmless(page)
    watched.close()


@pytest.mark.requirement("server_console:whole-gates")
def test_whoever_is_asked_sees_all_of_what_would_be_done(stage: Stage, chromium: Browser) -> None:
    watched = Watched(chromium, stage.url)
    watched.log_in()
    start(watched.page, "hidden", "hidden", "Ask before changes")
    gate = watched.page.get_by_label("Allow this call? bash")
    for each in ("ls ␦1b]0;; rm -rf important ␦7␦1b[8m; rm -rf more␦1b[0m␦200b", "; rm -rf all"):
        expect(gate.locator("pre")).to_contain_text(each)
    gate.get_by_role("button", name="Deny").click()
    gate.get_by_role("button", name="Deny").click()
    expect(watched.page.locator(".end")).to_contain_text("Done")
    watched.close()


@pytest.mark.requirement("server_console:text-only")
def test_no_text_keeps_a_page_busy(stage: Stage, chromium: Browser) -> None:
    watched = Watched(chromium, stage.url)
    watched.log_in()
    start(watched.page, "tedious", "tedious")
    expect(watched.page.locator(".feed .text").last).to_contain_text("the end")
    expect(watched.page.locator(".end")).to_contain_text("Done")
    watched.close()


@pytest.mark.requirement("server_console:headers")
def test_the_browser_runs_nothing_that_is_put_into_the_page(stage: Stage, chromium: Browser) -> None:
    watched = Watched(chromium, stage.url)
    page = watched.page
    watched.log_in()
    watched.forgiven = lambda words: True  # the browser says what it refused
    told: dict[str, Any] = page.evaluate(
        """async () => {
          const tried = {};
          const attempt = async (name, what) => {
            try { tried[name] = String(await what()); } catch (error) { tried[name] = error.name; }
          };
          addEventListener("securitypolicyviolation", (event) => (tried[event.effectiveDirective] = "blocked"));
          const add = (name, text) => Object.assign(document.createElement(name), { textContent: text });
          await attempt("html", () => ((document.getElementById("app").innerHTML = "<b>x</b>"), "done"));
          await attempt("inline", () => document.body.append(add("script", "window.ran = 1")));
          await attempt("timer", () => setTimeout("window.ran = 2"));
          await attempt("fetch", () => fetch("http://127.0.0.1:1/"));
          await attempt("image", () => new Promise((done) => {
            const made = new Image();
            made.onerror = () => done("refused");
            made.onload = () => done("loaded");
            made.src = "http://127.0.0.1:1/x.png";
          }));
          await attempt("style", () => {
            const made = add("style", "body { color: red }");
            document.head.append(made);
            return made.sheet ? "applied" : "nothing";
          });
          tried.ran = String(window.ran);
          return tried;
        }"""
    )
    assert told["html"] == "TypeError"
    assert told["ran"] == "undefined"
    assert told["fetch"] == "TypeError" and told["image"] == "refused" and told["style"] == "nothing"
    assert told["connect-src"] == told["img-src"] == "blocked"
    watched.close()


@pytest.mark.requirement("server_console:secrets")
def test_no_secret_is_in_an_address_or_kept_by_the_browser(stage: Stage, chromium: Browser) -> None:
    key = stage.add_key("eve", "reader")
    for secret, enter in ((PASSWORD, _with_password), (key, _with_key)):
        watched = Watched(chromium, stage.url)
        asked: list[str] = []
        watched.page.on("request", lambda request, asked=asked: asked.append(request.url))
        enter(watched, secret)
        start = len(asked)
        watched.page.reload()
        watched.page.get_by_role("navigation", name="Sessions").wait_for()
        assert len(asked) > start
        kept = watched.page.evaluate("JSON.stringify(localStorage) + document.cookie + location.href + history.state")
        assert secret not in kept and "hf_" not in kept
        assert not any(secret in each or "key=" in each or "token=" in each for each in asked)
        for cookie in watched.context.cookies():
            assert cookie.get("httpOnly") and cookie.get("sameSite") in ("Lax", "Strict")
            assert cookie.get("value", "-") not in kept
        watched.wrong = [each for each in watched.wrong if "401" not in each]
        watched.close()


def _with_password(watched: Watched, _secret: str) -> None:
    watched.log_in()


def _with_key(watched: Watched, secret: str) -> None:
    watched.page.goto("/")
    watched.page.get_by_role("button", name="Key").click()
    watched.page.get_by_label("Key", exact=True).fill(secret)
    watched.page.get_by_role("button", name="Log in").click()
    watched.page.get_by_role("navigation", name="Sessions").wait_for()


class _Trap(BaseHTTPRequestHandler):
    """A page of another site, which asks the server in the name of whoever looks at it."""

    server_url = ""

    def do_GET(self) -> None:
        page = f"""<!doctype html><title>Kittens</title><iframe src="{self.server_url}/console/"></iframe>
        <form method="post" enctype="text/plain" action="{self.server_url}/v1/sessions" target="into">
        <input name='{{"name": "by-form", "x": "' value='"}}'></form><iframe name="into"></iframe>
        <script>
        const ask = (type, mode) => fetch("{self.server_url}/v1/sessions", {{method: "POST", credentials: "include",
          mode, headers: {{"content-type": type}}, body: JSON.stringify({{name: "by-" + mode}})}})
          .then((answer) => answer.type, (error) => error.name);
        window.tried = (async () => {{
          document.forms[0].submit();
          const read = await fetch("{self.server_url}/v1/sessions", {{credentials: "include"}})
            .then((answer) => answer.text(), (error) => error.name);
          return [await ask("text/plain", "no-cors"), await ask("application/json", "cors"), read];
        }})();
        </script>"""
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(page.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.mark.requirement("server_console:csrf")
def test_a_page_of_another_site_does_and_sees_nothing_in_the_name_of_who_is_logged_in(
    stage: Stage, chromium: Browser
) -> None:
    watched = Watched(chromium, stage.url)
    watched.log_in()
    start(watched.page, "hello", "mine")
    trap = type("Trap", (_Trap,), {"server_url": stage.url})
    with ThreadingHTTPServer(("127.0.0.1", 0), trap) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        page = watched.context.new_page()
        page.goto(f"http://127.0.0.1:{other.server_address[1]}/")  # another port: the cookie goes along
        tried: list[str] = page.evaluate("window.tried")
        assert tried == ["opaque", "TypeError", "TypeError"]
        page.wait_for_function("frames.length === 2")
        assert all(
            "Sessions" not in (frame.content() if frame.url.startswith(stage.url) else "") for frame in page.frames
        )
        other.shutdown()
    names = watched.page.evaluate(
        "fetch('/v1/sessions').then((x) => x.json()).then((x) => x.sessions.map((y) => y.session))"
    )
    assert "mine" in names and not any(each.startswith("by-") for each in names)
    watched.close()
