"""The report's charts as a browser draws them: what is seen, pointed at, pressed and heard."""

import re
import sqlite3

import pytest
from waiting import until

from privrobust.core.formatting import rounded_up

BY_KEYS = "#key-privacy input:checked"


def texts(tab, selector):
    return [text for text in tab.locator(selector).all_text_contents() if text]


def opacities(tab, selector):
    return tab.locator(selector).evaluate_all(
        "(marks) => marks.map((mark) => Number(mark.getAttribute('opacity') ?? 1))"
    )


def test_the_epsilon_chart(opened, made):
    tab = opened(made, color_scheme="dark")
    points = tab.locator("#chart-privacy .mark-symbol.role-mark path")
    assert points.count() == 2 * 2 * 2  # methods, b, clean and worst
    assert tab.locator("#chart-privacy .mark-line path[d*=L]").count() == 0  # one finite epsilon
    with sqlite3.connect(made) as connection:
        (epsilon,) = connection.execute(
            "select max(epsilon) from runs where noise_scale > 0 and heterogeneity = 0"
        ).fetchone()
    labels = texts(tab, "#chart-privacy .role-axis .role-axis-label text")
    assert labels[:2] == [rounded_up(epsilon, 3), "notprivate"]
    ink = tab.evaluate("getComputedStyle(document.body).color")
    label = tab.locator("#chart-privacy text").first
    assert label.evaluate("(text) => getComputedStyle(text).fill") == ink
    assert texts(tab, "#figure-privacy .sign:not(:has(input))") == [" clean", " worst case"]
    points.last.hover()
    tip = tab.locator("#vg-tooltip-element.visible").text_content()
    for told in ("3 of 3 finished", "±", "epsilon", "C", "b", "heterogeneity"):
        assert told in tip


def test_lines_end_where_privacy_does(opened, changed):
    """Finite epsilons are joined in their order; what is infinite, to nothing."""
    path = changed(
        ("update runs set noise_scale = 0.05, epsilon = 2.001 "
         "where heterogeneity = 1 and noise_scale > 0",),
        ("update runs set epsilon = 40.01 where heterogeneity = 0 and noise_scale > 0",),
        ("update runs set noise_scale = 0.7, epsilon = 0.875 "
         "where heterogeneity = 1 and noise_scale = 0",),
        ("update runs set heterogeneity = 0",),
    )  # fmt: skip
    tab = opened(path)
    assert texts(tab, "#chart-privacy .role-axis .role-axis-label text")[:4] == [
        "0.875", "2.01", "40.1", "notprivate"
    ]  # fmt: skip
    lines = tab.locator("#chart-privacy .mark-line path").evaluate_all(
        "(lines) => lines.map((line) => line.getAttribute('d'))"
    )
    assert len(lines) == 2 * 2  # methods, clean and worst
    shade = tab.locator("#chart-privacy .mark-rect path").first.evaluate("(it) => it.getBBox().x")
    for line in lines:
        places = [float(x) for x in re.findall(r"[ML](-?[\d.]+),", line)]
        assert len(places) == 3
        assert places == sorted(places)
        assert places[-1] < shade


def test_one_is_singled_out_by_keyboard_and_by_pointing(opened, made):
    tab = opened(made)
    marks = "#chart-privacy .mark-symbol.role-mark path"
    assert set(opacities(tab, marks)) == {1}
    tab.locator(BY_KEYS).focus()
    tab.keyboard.press("ArrowDown")
    assert tab.locator(BY_KEYS).get_attribute("value") == "mean"
    tab.locator(f"{marks}[opacity='0.08']").first.wait_for(state="attached")
    assert sorted(opacities(tab, marks)) == [0.08] * 4 + [1] * 4
    tab.keyboard.press("ArrowUp")
    tab.locator(f"{marks}[opacity='0.08']").first.wait_for(state="detached")
    tab.locator(marks).last.hover()
    tab.locator(f"{marks}[opacity='0.08']").first.wait_for(state="attached")
    tab.mouse.move(0, 0)
    tab.locator(f"{marks}[opacity='0.08']").first.wait_for(state="detached")


def test_the_key_stands_above_its_plot_on_the_first_screen(opened, made):
    """Names are pressed as a whole, with what shows of the keyboard around them."""
    tab = opened(made, viewport={"width": 1280, "height": 900})
    key, plot = (tab.locator(f"#{part}-privacy").bounding_box() for part in ("key", "chart"))
    assert key["y"] + key["height"] <= plot["y"]
    assert plot["y"] + plot["height"] <= 900
    name = tab.locator("#key-privacy .sign").last
    outer, inner = name.bounding_box(), name.locator("input").bounding_box()
    assert [inner[side] for side in outer] == pytest.approx([outer[side] for side in outer], abs=1)
    name.click()
    assert name.locator("input").is_checked()


def test_the_line_of_the_rule_that_findings_name_is_thick(opened, changed):
    tab = opened(changed(
        ("update runs set epsilon = 2, noise_scale = 0.2 where noise_scale = 0",),
        ("update runs set accuracy = 0.5 + (aggregator = 'median') / 5.0 + seed / 1000.0, "
         "accuracy_by_class = null",),
    ))  # fmt: skip
    lines = tab.locator("#chart-privacy .mark-line path").evaluate_all(
        "(lines) => lines.map((it) => [it.getAttribute('stroke-width'), it.getAttribute('stroke')])"
    )
    assert sorted(width for width, _ in lines) == ["2", "2", "4", "4"]
    (colour,) = {colour for width, colour in lines if width == "4"}
    named = tab.locator("#key-privacy .sign", has_text="median").locator("svg")
    rgb = named.evaluate("(it) => getComputedStyle(it).color")
    assert colour in {rgb, "#" + "".join(f"{int(part):02x}" for part in re.findall(r"\d+", rgb))}
    assert [width for width, _ in lines][-2:] == ["4", "4"]  # on top


def test_every_drawing_is_told_in_words(opened, made):
    """Those words follow what is chosen, and nothing inside is left to guess at."""
    tab = opened(made)
    named = tab.locator("figure .chart[role=img][aria-label]")
    assert named.count() == 3
    assert tab.locator("figure .chart > :not([aria-hidden=true])").count() == 0
    inner = "figure [role^=graphics], figure svg"
    assert tab.evaluate(f"[...document.querySelectorAll('{inner}')]"
                        ".every((it) => it.closest('[aria-hidden=true]'))")  # fmt: skip
    before = named.first.get_attribute("aria-label")
    opened_at = re.search(r"With heterogeneity (\d) and f = ", before)[1]
    other = {"0": "heterogeneity 1", "1": "heterogeneity 0"}[opened_at]
    assert tab.locator("#reading-privacy").text_content() in before
    tab.get_by_label("Setting").first.select_option(other)
    tab.locator("#reading-privacy", has_text=f"With {other}").wait_for()
    assert f"With {other}" in named.first.get_attribute("aria-label")
    assert not re.search(r"\d %", tab.locator("#reading-privacy").text_content())


def test_bands_show_for_the_attack_that_is_singled_out(opened, made):
    tab = opened(made)
    attacks = [" none", " alie(z=1.5)", " sign_flip"]
    assert [text[-len(name):] for text, name in zip(
        texts(tab, "#key-curves .sign")[1:], attacks, strict=True)] == attacks  # fmt: skip
    dashes = tab.locator("#chart-curves .mark-line path").evaluate_all(
        "(lines) => lines.map((line) => line.getAttribute('stroke-dasharray'))"
    )
    assert len(set(dashes)) == len(dashes) == 3
    bands = "#chart-curves .mark-area path"
    assert opacities(tab, bands) == [0, 0, 0]
    tab.get_by_role("radio", name="sign_flip").check()
    tab.locator(f"{bands}[opacity='0.25']").wait_for(state="attached")
    assert sorted(opacities(tab, bands)) == [0, 0, 0.25]
    line = tab.locator("#chart-curves .mark-line path").first
    before = line.get_attribute("d")
    tab.locator("[name=chosen_row]").select_option("9")
    expect = pytest.importorskip("playwright.sync_api").expect
    expect(line).not_to_have_attribute("d", before)
    assert "Row 9, " in tab.locator("#chart-curves").get_attribute("aria-label")


def test_what_failed_or_was_not_run_is_hatched(opened, changed):
    path = changed(
        ("update runs set status = 'failed', accuracy = null, failure = 'no' "
         "where aggregator = 'mean' and byzantine = 1 and noise_scale = 0.1",),
        ("delete from runs where aggregator = 'mean' and byzantine = 2 and noise_scale = 0",),
    )  # fmt: skip
    tab = opened(path)
    tab.locator("[name=chosen_method]").select_option("mean")
    tab.locator("#chart-heatmap .mark-text text", has_text="failed").wait_for(state="attached")
    words = texts(tab, "#chart-heatmap .mark-text text")
    assert words.count("failed") == 1
    assert len([word for word in words if "±" in word]) == 2 * 3 - 2
    squares = tab.locator("#chart-heatmap .mark-rect.role-mark path")
    fills = squares.evaluate_all("(them) => them.map((it) => it.getAttribute('fill'))")
    assert fills.count("url(#hatching)") == 2 * 3 + 1  # below all, and over the failed one
    coloured = [fill for fill in fills if fill.startswith("rgb")]
    assert len(coloured) == 2 * 3 - 2
    assert tab.locator("#figure-heatmap .sign").text_content().strip() == "not run or failed"
    failed = tab.locator("#chart-privacy .role-axis-label text", has_text="failed")
    assert failed.count() == 1
    tab.locator("#chart-heatmap .mark-text text", has_text="failed").hover(force=True)
    tip = tab.locator("#vg-tooltip-element.visible").text_content()
    assert "failed 3 of 3" in tip


@pytest.mark.parametrize(
    ("change", "drawn", "told"),
    [
        ("delete from runs where byzantine > 0", ["privacy", "curves"], "under attack"),
        ("delete from runs where noise_scale = 0", ["privacy", "heatmap", "curves"], ""),
        ("delete from runs where noise_scale > 0", ["heatmap", "curves"], "no run is private"),
        ("delete from evaluations where step < 6", ["privacy", "heatmap"], "at step 6."),
        ("delete from runs where seed > 0 or byzantine = 1 or aggregator = 'mean' or "
         "heterogeneity = 0 or noise_scale = 0", ["privacy", "heatmap", "curves"], ""),
    ],
)  # fmt: skip
def test_odd_stores_draw_what_there_is(opened, changed, change, drawn, told):
    """Without a word on the console, which `opened` listens to."""
    tab = opened(changed((change,)))
    found = tab.locator("figure .chart").evaluate_all("(them) => them.map((it) => it.id)")
    assert sorted(found) == sorted(f"chart-{name}" for name in drawn)
    for name in drawn:
        marks = tab.locator(f"#chart-{name} .role-mark path")
        assert marks.count() > 0
    lacking = texts(tab, "figure .lacking")
    assert len(lacking) == 3 - len(drawn)
    assert told in "".join(lacking)
    assert tab.locator("figure svg").count() >= len(drawn)


def test_charts_follow_the_window(opened, made):
    tab = opened(made, viewport={"width": 360, "height": 800})
    names = ("privacy", "heatmap", "curves")

    def widths():
        return [tab.locator(f"#chart-{name} svg").bounding_box()["width"] for name in names]

    assert max(widths()) <= 360
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    for name in names:
        assert tab.locator(f"#key-{name} .sign").evaluate_all(
            "(them) => them.every((it) => it.getBoundingClientRect().height >= 24)"
        )
    narrow = widths()
    tab.set_viewport_size({"width": 1280, "height": 800})
    until(
        tab,
        "(before) => document.querySelector('#chart-privacy svg').clientWidth > 1.3 * before",
        arg=narrow[0],
    )
    for name, before in zip(names, narrow, strict=True):
        room = tab.locator(f"#chart-{name}").bounding_box()["width"]
        width = tab.locator(f"#chart-{name} svg").bounding_box()["width"]
        assert before < width <= room
        assert width > 0.95 * room
    tab.emulate_media(media="print")
    assert not tab.locator("#key-privacy input").first.is_visible()
    assert tab.locator("#key-privacy .sign").last.is_visible()
