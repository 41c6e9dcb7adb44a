"""The report: what its page does in a browser."""

import re

import pytest
from made_runs import SWEEP
from waiting import until

from privrobust.store import Store

HONEST = SWEEP["honest"]


def column(tab, name):
    """What the visible rows show, top to bottom."""
    return tab.evaluate(
        """(name) => {
          const heads = [...document.querySelectorAll("#results thead th")];
          const at = heads.findIndex((head) => head.dataset.head === name);
          return [...document.querySelectorAll("#results tbody tr:not(.recipe)")]
            .filter((row) => row.offsetParent !== null || row.getClientRects().length)
            .map((row) => row.cells[at].dataset.v);
        }""",
        name,
    )


def test_sorting_by_mouse_and_keyboard(opened, made):
    tab = opened(made)
    worst = [float(value) for value in column(tab, "worst")]
    head = tab.locator("th[data-head=worst]")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert [float(value) for value in column(tab, "worst")] == sorted(worst)
    tab.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert [float(value) for value in column(tab, "worst")] == sorted(worst, reverse=True)
    tab.keyboard.press("Shift+Tab")  # to `clean`
    tab.keyboard.press("Space")
    assert tab.locator("[aria-sort]").get_attribute("data-head") == "clean"
    assert "sorted by clean, ascending" in tab.locator("#status").text_content()
    tab.locator("th[data-head=epsilon] button").click()
    assert column(tab, "epsilon")[-1] == "Infinity"
    tab.locator("th[data-head=method] button").click()
    assert column(tab, "method") == sorted(column(tab, "method"))


def shown(tab):
    """The numbers of the visible rows, and what the page says of them."""
    return [int(each) for each in column(tab, "row")], tab.locator("#status").text_content()


def test_searching(opened, changed):
    """What is on the screen is found, as it stands there; a number alone is a setting's."""
    path = changed(
        ("update runs set aggregator = 'majority_vote' where aggregator = 'mean'",),
        ("update runs set epsilon = 1.2845 where noise_scale = 0.1 and heterogeneity = 0",),
        ("update runs set diverged = 1 where attack = 'sign_flip' and byzantine = 2",),
    )
    tab = opened(path)
    by_row = {
        int(number): dict(method=method, b=b, f=f, epsilon=epsilon)
        for number, method, b, f, epsilon in zip(
            *(column(tab, name) for name in ("row", "method", "b", "f", "epsilon")), strict=True
        )
    }
    assert len(by_row) == 16

    def where(**wanted):
        return [
            number
            for number, row in by_row.items()
            if all(row[name] == value for name, value in wanted.items())
        ]

    for words, rows in {
        "vote": where(method="majority_vote"),
        "Majority_Vote": where(method="majority_vote"),
        "majority vote b=0.1": where(method="majority_vote", b="0.1"),
        "median 0.1": where(method="median", b="0.1"),
        "sign_flip": list(by_row),
        "epsilon 1.29": where(epsilon="1.2845"),
        "1.29": where(epsilon="1.2845"),
        "epsilon 0.1": [],
        "not private": where(epsilon="Infinity"),
        "noise_scale 0.1": where(b="0.1"),
        "f 2": where(f="2"),
        "f = 2 diverged": where(f="2"),
        "1 diverged": [row for row in where(f="2") if row > 8],  # heterogeneity 1
        "3 diverged": where(f="2"),
        "4 diverged": [],
        "heterogeneity 1": [row for row in by_row if row > 8],
        "0.": [row for row in by_row if row <= 8] + [row for row in where(b="0.0") if row > 8],
    }.items():
        tab.get_by_label("Search").fill(words)
        found, said = shown(tab)
        assert found == sorted(rows), words
        assert said.startswith(f"{len(rows)} of 16 rows"), words
    assert tab.get_by_text("no row has all that is asked for").count() == 0
    tab.get_by_label("Search").fill("krum")
    assert "0 of 16 rows: no row has all that is asked for" in shown(tab)[1]
    tab.get_by_role("button", name="Show all").click()
    tab.locator("#results tbody tr[hidden]").first.wait_for(state="detached")
    assert len(column(tab, "f")) == 16


def test_phrases_are_looked_for_first_and_alone(opened, changed):
    """What stands in a cell, a sentence or the caption is found as it is written there."""
    path = changed(
        ("update runs set aggregator = 'centred_clipping(radius=1.0)' where aggregator = 'mean'",),
        ("update runs set epsilon = 1.0 where noise_scale = 0.1",),
        ("delete from runs where heterogeneity = 0",),
    )
    tab = opened(path)
    search = tab.get_by_label("Search")

    def found(words):
        search.fill(words)
        return shown(tab)[0]

    every = [int(each) for each in column(tab, "row")]
    methods, fs = column(tab, "method"), column(tab, "f")
    worst = column(tab, "worst attack")
    clipping = [row for row, name in zip(every, methods, strict=True) if "radius" in name]
    assert 0 < len(clipping) < len(every)
    assert found("radius=1.0") == found("centred_clipping(radius=1.0)") == clipping
    for f in ("1", "2"):  # four honest workers or more beside them
        of_f = [row for row, own in zip(every, fs, strict=True) if own == f]
        assert found(f"f = {f} of {HONEST + int(f)}") == of_f
    assert found("worst attack sign_flip") == [
        row for row, name in zip(every, worst, strict=True) if name == "sign_flip"
    ]
    assert found("heterogeneity 1") == every  # told above the table
    assert found("heterogeneity 0") == []
    text = tab.locator("#results tbody tr").nth(0).locator("td").nth(4).text_content()
    mean, half = re.match(r"([\d.]+)\s±\s([\d.]+)", text).groups()
    assert 1 in found(f"{mean} ± {half} %")
    assert len(found(f"{mean} ± {half} %")) < len(every)


def test_accuracies_are_found_by_their_column(opened, made):
    tab = opened(made)
    row = tab.locator("#results tbody tr").nth(4)
    at = tab.evaluate("document.querySelector('#results [data-head=worst]').cellIndex")
    mean = row.locator(":scope > *").nth(at).text_content().split("\N{NO-BREAK SPACE}")[0]
    tab.get_by_label("Search").fill(f"worst {mean}")
    assert 5 in shown(tab)[0]
    assert len(shown(tab)[0]) < 16


def test_filters_and_their_link(opened, made):
    """Every setting that varies has a filter; the address is that of what is seen."""
    tab = opened(made)
    names = tab.locator("#filters [name]").evaluate_all("(all) => all.map((each) => each.name)")
    assert names[:6] == [
        "search", "aggregator", "heterogeneity", "noise_scale", "byzantine", "epsilon"
    ]  # fmt: skip
    tab.locator("[name=byzantine]").select_option("2")
    assert set(column(tab, "f")) == {"2"}
    tab.locator("[name=aggregator]").focus()
    tab.keyboard.type("mean")  # as selects are used by keyboard
    assert set(column(tab, "method")) == {"mean"}
    tab.locator("[name=epsilon]").select_option("Infinity")
    assert set(column(tab, "epsilon")) == {"Infinity"}
    tab.locator("[name=epsilon]").select_option(index=1)
    assert "Infinity" not in column(tab, "epsilon")
    assert 0 < len(column(tab, "f")) < 16
    tab.get_by_label("Search").fill("heterogeneity 1")
    tab.get_by_text("More columns").click()
    tab.get_by_label("worst class").check()
    tab.locator("th[data-head=worst] button").click()
    tab.locator("th[data-head=worst] button").click()
    tab.locator("#results tbody th button").and_(tab.locator(":visible")).first.click()
    seen = [column(tab, name) for name in ("row", "worst", "worst class, worst")]
    address = tab.evaluate("location.href")
    tab.get_by_role(
        "link", name="The table", exact=True
    ).click()  # leaves the view, and its address
    until(tab, "(address) => location.href === address", address)
    again = tab.context.new_page()
    again.goto(address)
    again.locator("html[data-drawn=yes]").wait_for(state="attached")
    assert [column(again, name) for name in ("row", "worst", "worst class, worst")] == seen
    assert again.locator("th[data-head=worst]").get_attribute("aria-sort") == "descending"
    assert again.locator("th[data-head='worst class, worst']").is_visible()
    assert not again.locator("th[data-head='loss, worst']").is_visible()
    assert again.locator(".recipe pre").is_visible()
    again.evaluate("location.hash = 'aggregator=none&byzantine=1&sort=nothing&x=y'")
    until(again, "document.querySelectorAll('.recipe').length === 0")
    assert set(column(again, "f")) == {"1"}
    assert len(column(again, "f")) == 8


def test_names_stay_in_view(opened, made):
    """Header and the columns that name a row, while the table scrolls both ways."""
    tab = opened(made, viewport={"width": 700, "height": 420})
    places = tab.evaluate(
        """() => {
          const region = document.getElementById("results-region");
          region.scrollIntoView();
          const box = () => region.getBoundingClientRect();
          region.scrollTo(1e5, 1e5);
          const row = [...document.querySelectorAll("#results tbody tr")].at(-2);
          const named = [...row.cells].slice(0, 3).map((cell) => cell.getBoundingClientRect());
          const heads = [...document.querySelectorAll("#results thead th")];
          const last = heads.findLast((head) => !head.dataset.metric);
          return {
            scrolled: [region.scrollLeft, region.scrollTop],
            named: named.map((cell) => cell.left - box().left),
            widths: named.map((cell) => cell.width),
            top: heads.map((head) => head.getBoundingClientRect().top - box().top).slice(0, 8),
            corner: (({ left, top }) => document.elementFromPoint(left + 8, top + 8).closest("th")
              ?.dataset.head)(box()),
            right: last.getBoundingClientRect().right - box().right,
          };
        }"""
    )
    assert min(places["scrolled"]) > 100
    lefts, widths = places["named"], places["widths"]
    assert lefts == pytest.approx([1, 1 + widths[0], 1 + widths[0] + widths[1]], abs=1.5)
    assert places["top"] == pytest.approx([1] * 8, abs=1.5)
    assert places["corner"] == "row"  # above what scrolls under it, both ways
    assert places["right"] <= 0


def test_wide_windows_show_every_column(opened, made):
    tab = opened(made, viewport={"width": 1920, "height": 1080})
    region = tab.locator("#results-region")
    assert region.evaluate("(box) => box.scrollWidth - box.clientWidth") <= 0
    assert region.bounding_box()["width"] > 1800


def test_headers_come_into_view_with_the_focus(opened, made):
    """From under the columns that stay, and from beyond the window, on a phone."""
    tab = opened(made, viewport={"width": 360, "height": 740})
    tab.locator("#results thead button").first.focus()
    seen = 0
    for key in ["Tab"] * 11 + ["Shift+Tab"] * 6:
        tab.keyboard.press(key)
        left, right, first, last, is_head = tab.evaluate(
            """() => {
              const cell = document.activeElement.closest("thead th");
              const [own, box] = [cell ?? document.body, document.getElementById("results-region")]
                .map((each) => each.getBoundingClientRect());
              return [own.left, own.right, box.left, box.right, Boolean(cell)];
            }"""
        )
        if is_head:
            assert first <= left + 1
            assert right <= last + 1 or right - left > 150
            seen += 1
    assert seen > 10


def test_an_edge_parts_the_columns_that_stay(opened, made):
    tab = opened(made, viewport={"width": 700, "height": 420})
    lines = """() => [...document.querySelectorAll("#results tbody tr:first-child > *")]
      .filter((cell) => getComputedStyle(cell).boxShadow !== "none").length"""
    assert tab.evaluate(lines) == 0
    tab.evaluate("document.getElementById('results-region').scrollTo(100, 0)")
    until(tab, f"({lines})() === 1")


def test_edges_beyond_which_there_is_more_are_shaded(opened, made):
    """And a line says so, until all is in view."""
    tab = opened(made, viewport={"width": 700, "height": 420})
    edges, more = tab.locator(".edges"), tab.locator("#more")
    assert set(edges.get_attribute("class").split()) == {"edges", "right", "below"}
    assert more.text_content() == "; scroll the table for more rows and columns"
    for place, left in (("1e5, 0", {"below"}), ("0, 1e5", {"right"}), ("1e5, 1e5", set())):
        tab.evaluate(f"document.getElementById('results-region').scrollTo({place})")
        until(
            tab,
            "(left) => [...document.querySelector('.edges').classList].slice(1).join() === left",
            ",".join(sorted(left, reverse=True)),
        )
    opacity = "getComputedStyle(document.querySelector('.edges'), '::after').opacity"
    until(tab, f"() => {opacity} === '0'")
    tab.set_viewport_size({"width": 1920, "height": 1600})
    until(tab, "() => document.getElementById('more').textContent === ''")
    tab.locator(".edges:not(.right, .below)").wait_for()


def test_a_row_opens_its_recipe(opened, made):
    tab = opened(made)
    button = tab.get_by_role("button", name="row 3: its spec and command")
    button.focus()
    tab.keyboard.press("Enter")
    recipe = tab.locator("tr.recipe pre")
    recipe.wait_for(state="visible")
    assert "aggregator:" in recipe.text_content()
    assert button.get_attribute("aria-expanded") == "true"
    tab.keyboard.press("Tab")
    assert recipe.evaluate("(pre) => pre === document.activeElement")
    for what in ("YAML", "command"):
        tab.keyboard.press("Tab")
        tab.keyboard.press("Space")
        told = tab.locator("#said")
        told.get_by_text("Copied").or_(told.get_by_text("Selected")).wait_for(state="attached")
        tab.locator("tr.recipe .copy", has_text=f"Copy the {what}").wait_for(state="detached")
    tab.locator("th[data-head=row] button").click()  # sorted, it stays below its row
    assert (
        tab.locator("tr.recipe").evaluate("(row) => row.previousSibling.cells[0].dataset.v") == "3"
    )
    button.press("Enter")
    assert tab.locator("tr.recipe").count() == 0


def test_a_phone_scrolls_tables_and_not_the_page(opened, made):
    """With all that folds open; nothing that is pressed is smaller than 24 pixels."""
    tab = opened(made, viewport={"width": 360, "height": 740}, has_touch=True)
    for details in (False, True):
        if details:
            tab.evaluate("document.querySelectorAll('details').forEach((each) => each.open = true)")
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    assert tab.evaluate("document.querySelector('#results-region').scrollWidth > 360")
    small = tab.evaluate(
        """() => [...document.querySelectorAll("button, summary, select, input, nav a")]
          .map((each) => each.matches("label input") ? each.closest("label") : each)
          .map((each) => [each.outerHTML.slice(0, 80), each.getBoundingClientRect()])
          .filter(([, { width, height }]) => width && Math.min(width, height) < 24)
          .map(([name]) => name)"""
    )
    assert small == []


def test_paper_cuts_no_table(opened, made):
    tab = opened(made, viewport={"width": 1030, "height": 700})  # A4 landscape at 96 dpi
    tab.emulate_media(media="print")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 1030
    assert tab.evaluate("document.querySelector('#results').getBoundingClientRect().right") <= 1030
    rows = tab.locator("#results tbody tr")
    assert rows.last.evaluate("(row) => row.getBoundingClientRect().bottom") < tab.locator(
        ".edges + p"
    ).evaluate("(next) => next.getBoundingClientRect().bottom")
    for hidden in ("#filters", "thead button", ".copy", "#settings pre"):
        assert tab.locator(hidden).and_(tab.locator(":visible")).count() == 0, hidden
    for unfolded in ("#what dl", "#guarantee ul", "#shared-caption"):
        tab.locator(unfolded).first.wait_for(state="visible")
    breaks = "getComputedStyle(document.querySelector('.opening figure')).breakInside"
    assert tab.evaluate(breaks) == "auto"  # or the first page is blank below its title
    tab.emulate_media(media="screen")
    tab.locator("#what dl").first.wait_for(state="hidden")


def test_hostile_stores_run_nothing(opened, hostile):
    tab = opened(hostile)
    assert tab.title() == "changed: privrobust"
    assert tab.locator("img").count() == 0


def test_what_lacks_runs_opens_too(opened, changed, tmp_path):
    with Store(tmp_path / "empty.db"):
        pass
    assert "no finished runs" in opened(tmp_path / "empty.db").locator("main").text_content()
    failed = changed(
        ("update runs set status = 'failed', accuracy = null, failure = 'no'",),
        ("delete from evaluations",),
    )
    assert "failed 3 of 3" in opened(failed).locator("#results tbody").text_content()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(opened, made, scheme):
    """With all that folds open: names, roles, contrast, landmarks."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    tab = opened(made, color_scheme=scheme)
    tab.get_by_role("button", name="row 3: its spec and command").click()
    tab.evaluate("document.querySelectorAll('details').forEach((each) => each.open = true)")
    tab.get_by_label("worst class").check()
    found = axe.run(tab).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in found] == []


def test_the_keyboard_reaches_everything_and_is_seen(opened, made):
    tab = opened(made)
    reached = []
    while len(reached) < 80:
        tab.keyboard.press("Tab")
        name, outline = tab.evaluate(
            """() => {
              const at = document.activeElement;
              const name = at.id || at.name || at.ariaLabel || at.textContent.trim().slice(0, 40);
              return [at === document.body ? "" : name, getComputedStyle(at).outlineStyle];
            }"""
        )
        assert not name or outline != "none", name
        reached.append(name)
    order = ["Skip to the table", "The table", "search", "aggregator", "epsilon", "More columns",
             "Show all", "results-region", "method", "row 1: its spec and command"]  # fmt: skip
    places = [reached.index(name) for name in order]
    assert places == sorted(places)
