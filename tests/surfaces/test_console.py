"""The console in a browser: what a person does with it, from logging in to logging out."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout
from tests.consoling import Stage, Watched, browser, staged

from holdfast.testing import Call, Turn
from holdfast.testing.faults import Hang
from holdfast.testing.scripts import ScriptRequest, Tokens

USED = Tokens(input_tokens=60_000, output_tokens=800)
BEFORE = "hours, rest = divmod(s, 3600)\nminutes = (rest + 30) // 60\n"
QUESTIONS = [
    {
        "question": "Where are the orders kept?",
        "header": "Storage",
        "options": [{"label": "PostgreSQL", "description": "as in production"}, {"label": "SQLite"}],
    },
    {"question": "On which days?", "options": [{"label": "Monday"}, {"label": "Friday"}], "multiple": True},
]


def script(request: ScriptRequest) -> Turn | None:
    """The model: what it says follows from what the session was opened with."""
    first, at = request.first_user_text.split()[0], request.answers
    if first == "repair":
        return repairing(request)
    if first == "stream":
        text = "These **words** are said while somebody looks on, and they do not come to an end."
        return Turn(text, thinking="First I think a while.", fault=Hang(after_events=12, times=1), chunk=8, usage=USED)
    if first == "ask":
        asks = Turn("Tell me.", calls=[Call("question", {"questions": QUESTIONS})], usage=USED)
        return asks if at == 0 else Turn(f"You said {request.last_result}", usage=USED)
    if first == "review":
        return Turn("# The report\n\nAll is well.", usage=USED)
    return Turn(f"Said: {request.last_user_text}", usage=USED)


def repairing(request: ScriptRequest) -> Turn:
    """Writes, edits with a person's arguments, is denied a call, waits in a command, and says what it was told."""
    calls = (
        Call("write", {"path": "times.py", "content": BEFORE}),
        Call("edit", {"path": "times.py", "edits": [{"oldText": "3600", "newText": "60*60"}]}),
        Call("bash", {"command": "rm -rf important"}),
        Call("bash", {"command": "touch going; while [ ! -e go ]; do sleep 0.02; done; echo went on"}),
    )
    if request.answers < len(calls):
        return Turn(f"Step {request.answers + 1}.", calls=[calls[request.answers]], thinking="Hm.", usage=USED)
    return Turn(f"Done. I was told: **{request.last_user_text}**", usage=USED)


@pytest.fixture(scope="module")
def chromium() -> Generator[Browser]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stage]:
    with staged(tmp_path_factory.mktemp("console"), script) as found:
        yield found


@pytest.fixture
def watched(stage: Stage, chromium: Browser) -> Generator[Watched]:
    found = Watched(chromium, stage.url, viewport={"width": 1440, "height": 900})
    yield found
    found.close()


def start(page: Page, text: str, name: str, mode: str = "") -> None:
    page.get_by_role("link", name="New").click()
    page.get_by_label("Describe the job").fill(text)
    page.get_by_label("Name", exact=True).fill(name)
    if mode:
        page.get_by_label("What it may do").select_option(label=mode)
    page.get_by_label("Describe the job").press("Enter")
    expect(page.get_by_role("heading", name=name)).to_be_visible()


@pytest.mark.requirement(
    "server:console-journey", "server_console:journey", "server_console:quiet", "server_console:list"
)
def test_a_person_logs_in_starts_watches_approves_steers_forks_compares_and_logs_out(
    stage: Stage, watched: Watched
) -> None:
    page = watched.page
    page.goto("/")
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password", exact=True).fill("not the password")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("no user has this name and password")
    watched.log_in()
    start(page, "repair the times", "repair", "Ask before changes")
    _approves(page)
    _steers(stage, page)
    _compares_and_forks(page)
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    page.goto("/console/sessions/repair")
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    assert page.context.cookies() == []
    watched.wrong = [each for each in watched.wrong if "401" not in each]


def _approves(page: Page) -> None:
    gate = page.get_by_label("Allow this call? write")
    expect(gate).to_contain_text("times.py")
    page.keyboard.press("Escape")  # out of the box to write in
    page.locator("body").press("g")
    expect(gate).to_be_focused()
    page.keyboard.press("a")
    gate = page.get_by_label("Allow this call? edit")
    gate.press("e")
    box = gate.get_by_label("Arguments (JSON)")
    box.fill("{")
    expect(gate.get_by_role("button", name="Approve with these")).to_be_disabled()
    box.fill('{"path": "times.py", "edits": [{"oldText": "3600", "newText": "SECONDS"}]}')
    box.press("Control+Enter")
    gate = page.get_by_label("Allow this call? bash")
    expect(gate).to_contain_text("rm -rf important")
    gate.press("d")
    gate.get_by_label("Why not?").fill("it is important")
    gate.get_by_role("button", name="Deny").click()
    expect(page.get_by_role("region", name="bash, denied")).to_be_visible()
    expect(gate).to_contain_text("while")
    gate.get_by_role("button", name="Always").click()


def _steers(stage: Stage, page: Page) -> None:
    expect(page.get_by_role("region", name="bash, under way")).to_be_visible()
    box = page.get_by_label("Steer the run")
    box.fill("mind the leap years")
    box.press("Enter")
    expect(page.get_by_role("article", name="You, steering")).to_contain_text("mind the leap years")
    folder = next(stage.shell.home.rglob("going")).parent
    (folder / "go").touch()
    expect(page.locator(".text strong")).to_have_text("mind the leap years")
    expect(page.locator(".end")).to_contain_text("Done")
    expect(page.get_by_role("meter", name="Context")).to_have_attribute("aria-valuetext", "30 % of 200k tokens")
    expect(page.locator(".head .figures")).to_contain_text("$0.9")
    row = page.get_by_role("navigation", name="Sessions").get_by_role("link", name="repair")
    expect(row).to_contain_text("Done")
    expect(row).to_contain_text("last run $0.9")
    expect(row).to_contain_text("repair the times")  # by now far from the end of the log
    assert (folder / "times.py").read_text() == BEFORE.replace("3600", "SECONDS")


def _compares_and_forks(page: Page) -> None:
    page.get_by_role("region", name="edit, done").get_by_role("button", name="Files it changed").click()
    changes = page.get_by_role("complementary", name="Timeline and files")
    expect(changes.locator("tr.minus")).to_contain_text("divmod(s, 3600)")
    expect(changes.locator("tr.plus")).to_contain_text("divmod(s, SECONDS)")
    page.get_by_role("button", name="Timeline", exact=True).click()
    events = page.get_by_role("listbox", name="Events")
    page.get_by_label("Find events").fill("Wrote")
    events.get_by_role("option").first.click()
    page.get_by_role("button", name="Fork from here").click()
    expect(page.get_by_role("heading", name="repair")).not_to_be_visible()
    expect(page.locator(".feed")).to_contain_text("Forked from repair at event")
    page.get_by_role("button", name="Files", exact=True).click()
    expect(changes.locator("tr.plus")).to_contain_text(["divmod(s, 3600)"])
    page.get_by_label("Prompt").fill("go on without it")
    page.get_by_label("Prompt").press("Enter")
    expect(page.get_by_role("article", name="You", exact=True).last).to_contain_text("go on without it")
    page.get_by_role("button", name="Abort").click()
    expect(page.locator(".end").last).to_contain_text("Aborted")
    expect(page.get_by_role("button", name="Go on")).to_be_visible()


@pytest.mark.requirement("server_console:reconnect", "server_console:live")
def test_words_are_seen_as_they_are_said_and_a_killed_server_costs_and_doubles_none(
    stage: Stage, watched: Watched
) -> None:
    page = watched.page
    watched.forgiven = lambda words: "ERR_" in words  # the server is gone for a while
    watched.log_in()
    start(page, "stream something", "stream", "Ask nothing")
    words = page.locator(".now .text strong")
    expect(words).to_have_text("words")
    expect(page.locator(".now .thinking")).to_contain_text("First I think a while.")
    assert page.locator(".end").count() == 0
    stage.kill()
    expect(page.get_by_text("Disconnected.")).to_be_visible()
    stage.start()
    with contextlib.suppress(PlaywrightTimeout):  # the page connects by itself, too, and may be quicker
        page.get_by_role("button", name="Connect now").click(timeout=3000)
    expect(page.get_by_text("Disconnected.")).not_to_be_visible()
    expect(page.locator(".end")).to_contain_text("Done")
    expect(page.locator(".feed").get_by_text("are said while somebody looks on")).to_have_count(1)
    expect(page.get_by_role("article", name="You")).to_have_count(1)
    seqs = page.locator(".event .seq").all_text_contents()
    assert seqs == [str(each + 1) for each in range(len(seqs))]
    page.reload()
    expect(page.locator(".end")).to_contain_text("Done")
    assert page.locator(".event .seq").all_text_contents() == seqs


@pytest.mark.requirement("server_console:gates")
def test_questions_are_answered_with_options_and_words(watched: Watched) -> None:
    page = watched.page
    watched.log_in()
    start(page, "ask me", "asking")
    gate = page.get_by_label("A question for you")
    send = gate.get_by_role("button", name="Send 2 answers")
    expect(send).to_be_disabled()
    gate.get_by_label("SQLite").check()
    gate.get_by_label("Friday").check()
    gate.get_by_label("In your own words").last.fill("and *Sundays*")
    send.click()
    said = page.locator(".text").last
    expect(said).to_contain_text("SQLite")
    expect(said).to_contain_text("Friday")
    expect(said).to_contain_text("Sundays")


@pytest.mark.requirement("server_console:gates")
def test_an_answer_under_review_is_sent_back_and_then_accepted(stage: Stage, watched: Watched) -> None:
    page = watched.page
    watched.log_in()
    body = {"name": "reviewed", "prompt": {"text": "review it", "agent": "writer", "control": {"review": 1}}}
    made = page.request.post("/v1/sessions", data=body, headers={"origin": stage.url})
    assert made.status == 201, made.text()
    page.get_by_role("navigation", name="Sessions").get_by_role("link", name="reviewed").click()
    gate = page.get_by_label("Is this answer good?")
    expect(gate.get_by_role("heading", name="The report")).to_be_visible()
    gate.press("c")
    gate.get_by_label("What should be different?").fill("shorter, please")
    gate.get_by_role("button", name="Ask for changes").click()
    expect(page.locator(".feed")).to_contain_text("shorter, please")
    expect(gate.get_by_role("button", name="Accept")).to_be_visible()
    assert gate.get_by_role("button", name="Ask for changes").count() == 0
    gate.get_by_role("button", name="Accept").click()
    expect(page.locator(".end")).to_contain_text("Done")


@pytest.mark.requirement("server_console:control")
def test_a_run_is_paused_resumed_and_taken_back(watched: Watched) -> None:
    page = watched.page
    watched.log_in()
    start(page, "hello there", "talk", "Ask nothing")
    expect(page.locator(".end")).to_contain_text("Done")
    page.get_by_label("Prompt").fill("and another thing")
    page.get_by_label("Prompt").press("Enter")
    expect(page.locator(".end")).to_have_count(2)
    page.get_by_label("Find events").fill("run.finished")
    page.get_by_role("listbox", name="Events").get_by_role("option").first.click()
    page.get_by_role("button", name="Rewind to here").click()
    page.get_by_role("button", name="Take back all after it?").click()
    expect(page.locator(".end")).to_have_count(1)
    expect(page.locator(".feed")).not_to_contain_text("Said: and another thing")
    start(page, "repair in peace", "paused", "Ask before changes")
    expect(page.get_by_label("Allow this call? write")).to_be_visible()
    page.locator("body").press("Escape")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("The session is paused: what you answer begins nothing")).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("The session is paused")).not_to_be_visible()
    page.get_by_role("button", name="Abort").click()
    expect(page.locator(".end")).to_contain_text("Aborted")


@pytest.mark.requirement("server_console:keys")
def test_a_key_lasts_as_long_as_its_tab_and_shows_only_what_it_may(stage: Stage, watched: Watched) -> None:
    reader, page = stage.add_key("eve", "reader"), watched.page
    page.goto("/console/")
    page.get_by_role("button", name="Key").click()
    page.get_by_label("Key", exact=True).fill(reader)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_text("reader").or_(page.get_by_text("key · local"))).to_be_visible()
    assert page.get_by_role("link", name="New").count() == 0
    page.reload()
    expect(page.get_by_role("navigation", name="Sessions")).to_be_visible()
    assert reader in page.evaluate("Object.values(sessionStorage).join()")
    assert reader not in page.evaluate("Object.values(localStorage).join() + document.cookie + location.href")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0
    watched.wrong = [each for each in watched.wrong if "401" not in each]


@pytest.mark.requirement("server_console:local")
def test_a_server_that_gave_nobody_a_key_asks_for_none(tmp_path: Path, chromium: Browser) -> None:
    with staged(tmp_path, script, users=()) as stage:
        watched = Watched(chromium, stage.url)
        watched.page.goto("/")
        expect(watched.page.get_by_label("Describe the job")).to_be_focused()
        expect(watched.page.get_by_text("This machine")).to_be_visible()
        assert watched.page.get_by_role("button", name="Log out").count() == 0
        start(watched.page, "hello", "first", "Ask nothing")
        expect(watched.page.locator(".feed .text")).to_contain_text("Said: hello")
        watched.close()


@pytest.mark.requirement("server_console:whose")
def test_the_next_prompt_of_a_session_goes_to_its_own_agent_in_its_own_mode(stage: Stage, watched: Watched) -> None:
    page = watched.page
    watched.log_in()
    headers = {"origin": stage.url}
    prompt = {"text": "hello there", "agent": "writer", "mode": "accept-edits"}  # `coder` comes first by name
    made = page.request.post("/v1/sessions", data={"name": "whose", "prompt": prompt}, headers=headers)
    assert made.status == 201, made.text()
    start(page, "hello you", "another", "Ask nothing")  # what was chosen last is of somebody else
    page.get_by_role("navigation", name="Sessions").get_by_role("link", name="whose").click()
    expect(page.get_by_label("Agent")).to_have_value("writer")
    expect(page.get_by_label("What it may do")).to_have_value("accept-edits")
    page.get_by_label("Prompt").fill("and again")
    page.get_by_label("Prompt").press("Enter")
    expect(page.locator(".end")).to_have_count(2)
    expect(page.locator(".head .what")).to_contain_text("writer")
    page.get_by_label("Agent").select_option("coder")  # by hand it is somebody else's
    page.get_by_label("Prompt").fill("and you")
    page.get_by_label("Prompt").press("Enter")
    expect(page.locator(".end")).to_have_count(3)
    expect(page.locator(".head .what")).to_contain_text("coder")
    told = page.request.get("/v1/sessions/whose/events", headers={"accept": "application/json"}).json()["events"]
    assert [each["data"]["setup"]["mode"] for each in told if each["type"] == "run.started"] == ["accept-edits"] * 3
