"""Draw who sees what of a federation: docs/federated.svg.

python docs/federated.py

draws it anew; tests/federated/test_federation_page.py fails where it is out of date.
"""

from pathlib import Path

PICTURE = Path(__file__).with_name("federated.svg")
_WIDTH, _HEIGHT = 900, 460
_INK, _BLUE, _GREEN, _RED = "#37474f", "#3f51b5", "#2e7d32", "#c62828"


def svg() -> str:
    """Draw two honest clients, a hostile one, the server, and whoever looks on."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
            f'width="{_WIDTH}" font-family="sans-serif" font-size="14" fill="{_INK}">',
            "<title>What leaves a client, what the server does, and who sees what of it</title>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" '
            f'markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8z" fill="{_INK}"/></marker>'
            "</defs>",
            '<rect width="100%" height="100%" fill="white"/>',
            *_client(16, "a client", "its own ledger: may it?"),
            *_client(166, "another client", "its own ledger: may it?"),
            *_box(16, 316, 330, 76, _RED, "#ffebee"),
            _text(28, 338, "f hostile clients", bold=True),
            _text(28, 358, "send anything: NaN, other shapes, alie,"),
            _text(28, 378, "claims of a billion examples; or hang, or die"),
            *(_arrow(346, y, 520, to) for y, to in ((80, 150), (230, 186), (354, 222))),
            _text(366, 32, "private arrays,"),
            _text(366, 50, "allowed metrics,"),
            _text(366, 68, "a fixed sentence"),
            *_box(520, 96, 364, 196, _GREEN, "#e8f5e9"),
            _text(532, 118, "the server", bold=True),
            _text(532, 142, "1  charges the round to its ledger, or ends"),
            _text(532, 164, "2  asks: the model goes out"),
            _text(532, 186, "3  accepts or rejects each reply, and says why"),
            _text(532, 208, "4  robust rule: nnm + trimmed_mean, median, ..."),
            _text(532, 230, "5  moves the model by the aggregate"),
            _text(532, 260, "A curious one sees every message, who replied,"),
            _text(532, 280, "and when."),
            _arrow(700, 292, 700, 330),
            *_box(520, 330, 364, 62, _INK, "#eceff1"),
            _text(532, 352, "the model", bold=True),
            _text(532, 374, "clients see it every round, outsiders at the end"),
            _text(16, 424, "Noise is added before anything leaves the client: one epsilon holds of "
                  "all that the server, colluding"),
            _text(16, 444, "clients and outsiders see. Outside it: allowed metrics, timing, who "
                  "takes part, and settings."),
            "</svg>",
            "",
        ]
    )  # fmt: skip


def _client(top: int, name: str, ledger: str) -> list[str]:
    return [
        *_box(16, top, 330, 132, _BLUE, "#e8eaf6"),
        _text(28, top + 22, name, bold=True),
        *_box(28, top + 34, 92, 84, _INK, "white"),
        _text(40, top + 72, "its"),
        _text(40, top + 90, "examples"),
        _arrow(120, top + 76, 150, top + 76),
        *_box(150, top + 34, 184, 84, _BLUE, "white"),
        _text(160, top + 54, ledger),
        _text(160, top + 74, "clip to C, add noise b"),
        _text(160, top + 94, "keyed by the system"),
        _text(160, top + 112, "mod: all else stays"),
    ]


def _box(x: int, y: int, width: int, height: int, line: str, fill: str) -> list[str]:
    return [
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="5" fill="{fill}" '
        f'stroke="{line}"/>'
    ]


def _text(x: int, y: int, text: str, *, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x}" y="{y}"{weight}>{text}</text>'


def _arrow(x: int, y: int, to_x: int, to_y: int) -> str:
    return (
        f'<path d="M{x} {y}L{to_x} {to_y}" fill="none" stroke="{_INK}" stroke-width="1.5" '
        'marker-end="url(#tip)"/>'
    )


if __name__ == "__main__":
    PICTURE.write_text(svg(), encoding="utf-8")
