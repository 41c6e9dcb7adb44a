"""The report: what its page does in a browser."""

from privrobust.store import Store


def column(tab, name):
    """What the visible rows show, top to bottom."""
    return tab.evaluate(
        """(name) => {
          const heads = [...document.querySelectorAll("#results thead th")];
          const at = heads.findIndex((head) => head.dataset.head === name);
          return [...document.querySelectorAll("#results tbody tr")]
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
    assert "sorted by clean, ascending" in tab.get_by_role("status").text_content()
    tab.locator("th[data-head=epsilon] button").click()
    assert column(tab, "epsilon")[-1] == "Infinity"
    tab.locator("th[data-head=method] button").click()
    assert column(tab, "method") == sorted(column(tab, "method"))


def test_filtering(opened, made):
    tab = opened(made)
    every = len(column(tab, "f"))
    tab.get_by_label("Search").focus()
    tab.keyboard.type("median 0.1")
    assert set(column(tab, "method")) == {"median"}
    assert set(column(tab, "b")) == {"0.1"}
    assert "4 of 16 rows" in tab.get_by_role("status").text_content()
    tab.get_by_role("button", name="Show all").click()
    tab.locator("#results tbody tr[hidden]").first.wait_for(state="detached")
    tab.locator("#by-f").select_option("2")
    assert set(column(tab, "f")) == {"2"}
    tab.locator("#by-method").focus()
    tab.keyboard.type("mean")  # as selects are used by keyboard
    assert set(column(tab, "method")) == {"mean"}
    tab.locator("#by-epsilon").select_option("Infinity")
    assert set(column(tab, "epsilon")) == {"Infinity"}
    tab.locator("#by-epsilon").select_option(index=1)
    assert "Infinity" not in column(tab, "epsilon")
    assert 0 < len(column(tab, "f")) < every


def test_a_row_leads_to_its_recipe(opened, made):
    tab = opened(made)
    tab.get_by_role("link", name="row 3: its spec and command").focus()
    tab.keyboard.press("Enter")
    recipe = tab.locator("#setting-3 pre")
    recipe.wait_for(state="visible")
    assert "aggregator:" in recipe.text_content()
    tab.locator("#setting-3").get_by_role("button", name="Copy the YAML").wait_for(state="visible")


def test_a_phone_scrolls_tables_and_not_the_page(opened, made):
    tab = opened(made, viewport={"width": 390, "height": 844})
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    assert tab.evaluate("document.querySelector('.scroll').scrollWidth > 390")


def test_paper_cuts_no_table(opened, made):
    tab = opened(made, viewport={"width": 1030, "height": 700})  # A4 landscape at 96 dpi
    tab.emulate_media(media="print")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 1030
    assert tab.evaluate("document.querySelector('#results').getBoundingClientRect().right") <= 1030


def test_hostile_stores_run_nothing(opened, hostile):
    tab = opened(hostile)
    assert tab.title() == "privrobust: changed.db"
    assert tab.locator("img").count() == 0


def test_what_lacks_runs_opens_too(opened, changed, tmp_path):
    with Store(tmp_path / "empty.db"):
        pass
    assert "no finished runs" in opened(tmp_path / "empty.db").locator("main").text_content()
    failed = changed(
        ("update runs set status = 'failed', accuracy = null, failure = 'no'",),
        ("delete from evaluations",),
    )
    assert opened(failed).locator("figure .chart").count() == 1  # the heatmap, of failures
