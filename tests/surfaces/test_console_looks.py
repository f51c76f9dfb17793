"""What the console looks like, to eyes and to what reads it aloud: every screen, dark and light, wide and narrow."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.consoling import PASSWORD, Stage, Watched, browser, staged
from tests.picturing import NARROW, WIDE, script, take

NAMED = (
    *("button", "checkbox", "combobox", "complementary", "dialog", "heading", "image", "link", "listbox", "log"),
    *("meter", "navigation", "option", "radio", "searchbox", "spinbutton", "textbox"),
)
"""Roles that say nothing to anybody as long as they have no name."""

FAULTS = """() => {
  const found = [];
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const read = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map((at) => top[at] * top[3] + below[at] * (1 - top[3])).concat(1);
  const ground = (element) => {
    const layers = [];
    for (let each = element; each; each = each.parentElement) {
      const colour = read(getComputedStyle(each).backgroundColor);
      if (colour[3] > 0) layers.push(colour);
      if (colour[3] === 1) break;
    }
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const light = (colour) => {
    const [r, g, b] = colour.slice(0, 3).map((each) => each / 255)
      .map((each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (one, other) => {
    const [high, low] = [light(one), light(other)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  };
  const seen = (element) => element.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true })
    && !element.closest(".unseen, .skip");
  let looked = 0;
  const look = (element, colour, text) => {
    const style = getComputedStyle(element);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const below = ground(element);
    const ratio = contrast(over(read(colour), below), below);
    looked += 1;
    if (ratio < (large ? 3 : 4.5))
      found.push(`contrast ${ratio.toFixed(2)}: ${element.className} ${text.slice(0, 40)}`);
  };
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || !seen(element) || element.closest(":disabled, option, script, noscript")) continue;
    look(element, getComputedStyle(element).color, node.data);
  }
  for (const box of document.querySelectorAll("input, textarea, select")) {
    if (!seen(box) || box.disabled) continue;
    look(box, getComputedStyle(box, box.placeholder ? "::placeholder" : null).color, box.placeholder ?? "");
  }
  if (looked < 6) found.push(`only ${looked} texts were looked at`);
  if (document.documentElement.scrollWidth > innerWidth) found.push(`${document.documentElement.scrollWidth} px wide`);
  for (const each of document.querySelectorAll("button, a, input, select, textarea, h1, dl, header, footer")) {
    if (!seen(each)) continue;
    const box = each.getBoundingClientRect();
    const said = `${each.className} ${each.textContent.slice(0, 30)}`;
    const out = box.right > innerWidth + 1 || box.left < -1;
    if (out && !each.closest(".scroll, pre")) found.push(`sticks out: ${said}`);
    if (each.matches("button, .button, select") && (box.width < 24 || box.height < 24)) found.push(`small: ${said}`);
  }
  const ids = [...document.querySelectorAll("[id]")].map((each) => each.id);
  if (new Set(ids).size !== ids.length) found.push(`ids twice: ${ids}`);
  if (document.querySelectorAll("main").length !== 1) found.push("not one main");
  if (!document.documentElement.lang || !document.title) found.push("no language, or no title");
  return found;
}"""


@pytest.fixture(scope="module")
def chromium() -> Generator[Browser]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stage]:
    with staged(tmp_path_factory.mktemp("looks"), script) as found:
        yield found


def faults(page: Page) -> list[str]:
    """Returns what is wrong with what is shown now."""
    tree: dict[str, Any] = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")
    nameless = [
        f"{node['role']['value']} without a name"
        for node in tree["nodes"]
        if not node["ignored"] and node["role"]["value"] in NAMED and not node.get("name", {}).get("value", "").strip()
    ]
    found: list[str] = page.evaluate(FAULTS)
    return found + nameless


@pytest.mark.requirement("server_console:accessible", "server_console:themes", "server_console:phone")
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_every_screen_can_be_read_and_is_named_dark_and_light(
    size: dict[str, int], stage: Stage, chromium: Browser
) -> None:
    wrong: dict[str, list[str]] = {}
    seen: set[str] = set()
    grounds: set[str] = set()

    def shot(page: Page, name: str) -> None:
        for looks in ("light", "dark"):
            page.emulate_media(color_scheme=looks)
            grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
            if found := faults(page):
                wrong[f"{name} {looks}"] = found
        seen.add(name)

    watched = Watched(chromium, stage.url, viewport=size, reduced_motion="reduce")
    take(watched, shot, f"-{size['width']}")
    assert wrong == {}
    assert seen >= {"login", "new", "live", "gate", "done", "timeline", "files"}
    assert len(grounds) == 2
    watched.close()


@pytest.mark.requirement("server_console:themes")
def test_what_somebody_chose_lasts_and_goes_before_what_the_system_says(stage: Stage, chromium: Browser) -> None:
    watched = Watched(chromium, stage.url, viewport=WIDE, color_scheme="dark")
    page = watched.page
    watched.log_in()
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.get_by_label("Colours").select_option("light")
    light = page.evaluate(ground)
    assert light != dark
    page.reload()
    page.get_by_role("navigation", name="Sessions").wait_for()
    assert page.evaluate(ground) == light
    page.get_by_label("Colours").select_option("system")
    assert page.evaluate(ground) == dark
    page.emulate_media(color_scheme="light")
    assert page.evaluate(ground) == light
    page.get_by_label("Colours").select_option("dark")
    assert page.evaluate(ground) == dark
    watched.close()


@pytest.mark.requirement("server_console:keyboard")
def test_everything_is_done_with_the_keyboard_alone(stage: Stage, chromium: Browser) -> None:
    watched = Watched(chromium, stage.url, viewport=WIDE)
    page, keys = watched.page, watched.page.keyboard
    watched.forgiven = lambda words: "401" in words  # nobody is logged in yet
    _starts(page)
    gate = page.get_by_label("Allow this call? write")
    expect(gate).to_contain_text("invoice.py")
    keys.press("g")
    expect(gate).to_be_focused()
    keys.press("a")
    expect(page.get_by_role("region", name="write, done")).to_have_count(1)
    expect(gate).to_contain_text("test_invoice.py")
    _walks(page)
    keys.press("t")
    expect(page.get_by_role("listbox", name="Events")).to_be_focused()
    keys.press("Home")
    keys.press("ArrowDown")
    chosen = page.get_by_role("listbox", name="Events").get_by_role("option", selected=True)
    expect(chosen).to_contain_text("run.started")
    keys.press("x")
    expect(page.locator(".end")).to_contain_text("Aborted")
    heading = page.get_by_role("heading", level=1)
    before = heading.text_content()
    keys.press("f")
    expect(heading).not_to_have_text(before or "")
    keys.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    page.get_by_label("Single keys work everywhere").press("Space")
    keys.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    keys.press("n")
    expect(page.get_by_label("Describe the job")).to_have_count(0)  # whoever dictates turned that off
    watched.close()


def _starts(page: Page) -> None:
    """Logs in and gives a job that has to be asked about, with keys."""
    keys = page.keyboard
    page.goto("/")
    expect(page.get_by_label("Name")).to_be_focused()
    keys.type("ada")
    keys.press("Tab")
    keys.type(PASSWORD)
    keys.press("Enter")
    expect(page.get_by_label("Describe the job")).to_be_focused()
    keys.type("The invoices are wrong.")
    who = page.get_by_role("combobox", name="Agent", exact=True)  # is there once it is known who there is
    expect(who).to_be_visible()
    keys.press("Tab")
    expect(who).to_be_focused()
    keys.press("Tab")
    expect(page.get_by_label("What it may do")).to_be_focused()
    keys.type("Ask before")
    keys.press("Tab")
    keys.press("Enter")


def _walks(page: Page) -> None:
    """Goes through all that can be reached with Tab: each shows that one is there, and the way leads out again."""
    ends, places = 0, list[str]()
    for _ in range(120):
        page.keyboard.press("Tab")
        place, shown = page.evaluate(
            """() => {
              const at = document.activeElement;
              const style = getComputedStyle(at.matches(".composer textarea") ? at.closest(".composer") : at);
              const lined = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
              const name = `${at.tagName} ${at.className} ${at.ariaLabel ?? at.textContent.slice(0, 20)}`;
              return [name, lined || style.boxShadow !== "none" || at === document.body];
            }"""
        )
        assert shown, f"nobody sees that {place} is where one is"
        if place.startswith("BODY"):
            ends += 1
            if ends == 2:
                break
        elif ends:
            places.append(place)
    assert ends == 2, f"the way does not lead out: {places}"
    assert len(places) > 20 and "Skip" in places[0], places


@pytest.mark.requirement("server_console:accessible")
def test_what_cannot_be_read_named_or_hit_is_found(stage: Stage, chromium: Browser) -> None:
    watched = Watched(chromium, stage.url, viewport=NARROW)
    watched.forgiven = lambda words: "401" in words  # nobody is logged in
    page = watched.page
    page.goto("/")
    expect(page.get_by_label("Name")).to_be_focused()
    assert faults(page) == []
    page.evaluate(
        """() => {
          document.querySelector("h1").style.opacity = "1";
          document.querySelector("h1").style.color = "rgb(140 140 140 / 60%)";
          document.querySelector(".primary").style.background = "color-mix(in srgb, white 50%, transparent)";
          const button = document.body.appendChild(document.createElement("button"));
          Object.assign(button.style, { minHeight: "0", height: "12px", width: "800px" });
        }"""
    )
    found = "\n".join(faults(page))
    for each in ("Holdfast", "Log in", "px wide", "sticks out", "small", "button without a name"):
        assert each in found, found
    watched.close()


@pytest.mark.requirement("server_frame:docs-page", "server_frame:description-of-fields")
def test_the_page_of_the_description_says_what_each_field_is_for_however_deep_it_lies(
    chromium: Browser, stage: Stage
) -> None:
    watched = Watched(chromium, stage.url)
    page = watched.page
    page.goto("/docs")
    page.get_by_label("Find a route").fill("post prompts")
    page.locator("details.op:visible > summary", has_text="/prompts").click()
    body = page.locator("details.op[open]")
    expect(body).to_contain_text("What the agent may do without asking")
    expect(body.locator("td.dim code", has_text="text").first).to_be_visible()  # a word in backticks of what is said
    body.locator("summary", has_text="fields of ControlBody").click()
    expect(body).to_contain_text("Seconds after a run in which nobody says anything")
    watched.close()
