"""SVG files say the same in fewer bytes."""

import re
from xml.etree import ElementTree as ET

import pytest
from made_runs import RUNS

from privrobust.reporting.figures import canvas, save_figure
from privrobust.reporting.figures.bias_variance import bias_variance_figure
from privrobust.reporting.figures.canvas import new_figure
from privrobust.reporting.figures.compact import compacted
from privrobust.reporting.figures.heatmap import heatmap_figure
from privrobust.reporting.figures.pareto import pareto_figure

OWN = ("opacity", "stroke-linecap", "stroke-linejoin")  # the latter by matplotlib's rule for `*`


def styled(element):
    return dict(
        part.split(":") for part in element.get("style", "").replace(" ", "").split(";") if part
    )


def drawn(svg):
    """List what is drawn, in order: shape, place, how it looks, how it is clipped, what it says.

    That is how a browser reads it: a group's style is inherited but for `OWN`, clipping is where
    the element is that has it, and `use` puts what it points at elsewhere.
    """
    root = ET.fromstring(svg)
    named = {each.get("id"): each for each in root.iter() if each.get("id")}
    found = []

    def shape(element):
        names = ("d", "x", "y", "width", "height", "transform")
        return [" ".join(element.get(name, "").split()) for name in names]

    def walk(element, inherited, frames):
        name = element.tag.rpartition("}")[2]
        own = styled(element)
        look = inherited | {key: value for key, value in own.items() if key not in OWN}
        moved = [
            element.get("transform"),
            *([element.get("x"), element.get("y")] * (name == "use")),
        ]
        frames = [*frames, *(each for each in moved if each)]
        if clip := element.get("clip-path"):
            frames = [*frames, "clip", *shape(named[clip[5:-1]][0])]
        if "opacity" in own:
            frames = [*frames, "opacity", own["opacity"]]
        if name in ("g", "svg"):
            for child in element:
                walk(child, look, frames)
        elif name not in ("defs", "metadata"):
            at = next((value for key, value in element.items() if key.endswith("href")), "")
            target = named.get(at[1:])
            pointed = [] if target is None else [*shape(target), styled(target)]
            ends = {key: own.get(key) for key in OWN[1:]}
            words = "".join(element.itertext()).strip()
            found.append([name, *shape(element), frames, look, ends, pointed, words])

    walk(root, {}, [])
    return found


def numbers(listed):
    """Split what is listed into what is not a number and what is."""
    text, number = str(listed), r"-?\d+\.?\d*"
    return re.sub(number, "#", text), [float(each) for each in re.findall(number, text)]


def hostile():
    figure = new_figure(2, 2)
    panel = figure.subplots()
    panel.set_title('<b> /> & "it\'s"  #p')
    panel.plot([0, 1], [1e-3, 2e-3], "o-", alpha=0.5, label="a\nb")
    panel.fill_between([0, 1], [0, 0], [1e-3, 2e-3], alpha=0.2)
    panel.imshow([[0, 1], [1, 0]], extent=(0, 1, 0, 1e-3), aspect="auto")
    panel.legend()
    return figure


@pytest.mark.parametrize(
    "draw",
    [
        lambda: pareto_figure(RUNS),
        lambda: heatmap_figure(RUNS),
        lambda: bias_variance_figure(draws=100),
        hostile,
    ],
    ids=["pareto", "heatmap", "bias_variance", "hostile"],
)
def test_all_that_is_drawn_stays_where_it_is_and_as_it_looks(draw, tmp_path, monkeypatch):
    """To half of a hundredth of a point."""
    given = []
    monkeypatch.setattr(canvas, "compacted", lambda svg: given.append(svg) or compacted(svg))
    save_figure(draw(), tmp_path / "figure.svg")
    small, (large,) = (tmp_path / "figure.svg").read_bytes(), given
    assert len(small) < 0.75 * len(large)
    (said, places), (as_said, at) = (numbers(drawn(svg)) for svg in (small, large))
    assert len(places) > 100
    assert said == as_said
    assert places == pytest.approx(at, abs=0.0050001)


SPREAD = """<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">
<defs><clipPath id="p"><rect width="9" height="9"/></clipPath><path id="m" d="M 0 0"/></defs>
<g id="a"><g clip-path="url(#p)"><use xlink:href="#m" x="1.23456" style="fill: red"/></g></g>
<g id="b"><g clip-path="url(#p)"><use xlink:href="#m" x="2" style="fill: red"/></g></g>
<g id="c"><path d="M 0 -0.001" style="fill: red; opacity: 0.5"/></g>
<g id="d"><path d="M 0 5.9999" style="fill: red; opacity: 0.5"/></g>
</svg>"""


def test_neighbours_say_once_what_they_share_but_not_what_is_not_inherited():
    small = compacted(SPREAD.encode()).decode()
    assert small.count("url(#p)") == 1
    assert small.count("fill:red") == 3
    assert small.count("opacity:0.5") == 2
    assert 'x="1.23"' in small
    assert 'd="M 0 0"' in small
    assert 'd="M 0 6"' in small
    assert 'id="p"' in small
    assert 'id="a"' not in small
    (said, places), (as_said, at) = (numbers(drawn(svg)) for svg in (small, SPREAD))
    assert said == as_said
    assert places == pytest.approx(at, abs=0.0050001)


@pytest.mark.filterwarnings("ignore:Glyph 11")
def test_what_is_no_xml_stays_as_it_is(tmp_path):
    figure = new_figure(1, 1)
    figure.suptitle("a\x0bb")
    save_figure(figure, tmp_path / "figure.svg")
    content = (tmp_path / "figure.svg").read_bytes()
    assert b"a\x0bb" in content
    assert compacted(content) == content


def test_how_others_write_xml_stays_as_it_is():
    other = ET.fromstring(SPREAD)
    before = ET.tostring(other)
    compacted(SPREAD.encode())
    assert ET.tostring(other) == before


def test_what_is_compact_already_stays_as_it_is():
    once = compacted(SPREAD.encode())
    assert compacted(once) == once
