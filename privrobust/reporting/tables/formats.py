"""A laid-out table as text: for a terminal, Markdown, LaTeX or HTML."""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain, groupby

from rich.cells import cell_len

from privrobust.core.escaping import in_html, in_markdown, in_terminal, in_tex
from privrobust.core.formatting import NBSP
from privrobust.core.window import wrapped
from privrobust.reporting.tables.table import Column, Entry, Layout

_READABLE = 100  # characters of a line of prose, however wide the window


def terminal(layout: Layout) -> str:
    """Write lines of text, as wide as they need; the best of a column has a star."""
    return "\n".join([*lines(layout), *note_lines(layout), ""])


def lines(layout: Layout, best: Callable[[str], str] = str) -> list[str]:
    """Lay a table out in columns of a fixed pitch.

    Args:
        layout: the table, whose notes are left out.
        best: what is done to the best of a column, beside its star: printed bold, say.

    """
    depth = max(len(column.header) for column in layout.columns)
    tops = (bottom(column.header, depth) for column in layout.columns)
    heads = [list(map(Entry, texts)) for texts in zip(*tops, strict=True)]
    widths = [
        max(cell_len(starred(entry)) for entry in entries)
        for entries in zip(*heads, *_rows(layout), strict=True)
    ]

    def line(row: Sequence[Entry]) -> str:
        places = []
        for column, width, entry in zip(layout.columns, widths, row, strict=True):
            text = starred(entry)
            space = " " * (width - cell_len(text))
            text = best(text) if entry.is_best else text
            places.append(text + space if column.is_text else space + text)
        return f"  {'  '.join(places)}".rstrip()

    rule = " " + "─" * (sum(widths) + 2 * len(widths) - 1)
    blocks = (["", *map(line, block)] for block in layout.blocks)
    return [*map(line, heads), rule, *list(chain.from_iterable(blocks))[1:], ""]


def starred(entry: Entry) -> str:
    """Write a cell, with a star where it is the best of its column."""
    return f"{'*' * entry.is_best}{in_terminal(entry.text)}"


def note_lines(layout: Layout, columns: int | None = None) -> list[str]:
    """Fold the notes below a table into lines, for a window of so many columns."""
    return prose_lines(layout.notes, columns)


def prose_lines(sentences: Iterable[str], columns: int | None = None) -> list[str]:
    """Fold sentences into lines, for a window of so many columns."""
    width = min(columns or _READABLE, _READABLE)
    # a line never ends at ± or before %, so that spaces there need not say so
    texts = (in_terminal(text.replace(NBSP, " ")) for text in sentences)
    return [line for text in texts for line in wrapped(text, width).split("\n")]


def markdown(layout: Layout) -> str:
    """Write a table of GitHub's flavour, and the notes as a list; the best is bold."""

    def shown(entry: Entry) -> str:
        text = in_markdown(entry.text)
        return f"**{text}**" if entry.is_best else text

    lines = [
        [in_markdown(column.title) for column in layout.columns],
        ["---" if column.is_text else "---:" for column in layout.columns],
        *([shown(entry) for entry in row] for row in _rows(layout)),
    ]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{table}\n\n" + "\n".join(f"- {in_markdown(note)}" for note in layout.notes) + "\n"


_LETTERS = (
    r"% has letters outside ASCII: pdfLaTeX sets Latin ones (\usepackage[T1]{fontenc} for all of "
    "them), LuaLaTeX and XeLaTeX those that the font has"
)


def latex(layout: Layout) -> str:
    """Write a `tabular` of booktabs, no wider than the line, with its notes: for any document."""

    def shown(entry: Entry) -> str:
        return rf"\textbf{{{in_tex(entry.text)}}}" if entry.is_best else in_tex(entry.text)

    blocks = (
        "\n".join(_tex_line(shown(entry) for entry in row) for row in block)
        for block in layout.blocks
    )
    titles = [line for column in layout.columns for line in column.header]
    entries = [entry.text for row in _rows(layout) for entry in row]
    letters = in_tex("".join([*titles, *entries, *layout.notes]))
    notes = "\n\n".join(rf"\noindent {in_tex(note)}" for note in layout.notes)
    places = "".join("l" if column.is_text else "r" for column in layout.columns)
    return "\n".join(
        [
            r"% needs \usepackage{booktabs,graphicx}",
            *([] if letters.isascii() else [_LETTERS]),
            r"\noindent\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{{places}}}",
            r"\toprule",
            *_tex_heads(layout.columns),
            r"\midrule",
            "\n\\addlinespace\n".join(blocks),
            r"\bottomrule",
            r"\end{tabular}}",
            "",
            rf"{{\footnotesize {notes}\par}}",
            "",
        ]
    )


def _tex_line(cells: Iterable[str]) -> str:
    return rf"{' & '.join(cells)} \\"


def _tex_heads(columns: Sequence[Column]) -> list[str]:
    """Write header lines; what neighbours have as their first line stands once above them all."""
    groups = [list(group) for _, group in groupby(columns, key=lambda column: column.header[0])]
    titles, rules, below = [], [], []
    start = 1
    for group in groups:
        if is_shared := len(group) > 1:
            title = in_tex(group[0].header[0])
            titles.append(rf"\multicolumn{{{len(group)}}}{{c}}{{{title}}}")
            rules.append(rf"\cmidrule(lr){{{start}-{start + len(group) - 1}}}")
        else:
            titles.append("")
        below += [column.header[is_shared:] for column in group]
        start += len(group)
    depth = max(map(len, below))
    bottoms = [bottom(lines, depth) for lines in below]
    heads = [_tex_line(map(in_tex, line)) for line in zip(*bottoms, strict=True)]
    return [_tex_line(titles), "".join(rules), *heads] if rules else heads


def html(layout: Layout) -> str:
    """Write a table element with its notes as the caption; the best is strong."""

    def head(column: Column) -> str:
        return f'<th scope="col">{"<br>".join(map(in_html, column.header))}</th>'

    def cell(column: Column, entry: Entry) -> str:
        text = in_html(entry.text)
        text = f"<strong>{text}</strong>" if entry.is_best else text
        return f'<th scope="row">{text}</th>' if column.is_text else f"<td>{text}</td>"

    def row(entries: Sequence[Entry]) -> str:
        return "".join(map(cell, layout.columns, entries))

    bodies = (
        f"<tbody>\n{''.join(f'<tr>{row(entries)}</tr>{chr(10)}' for entries in block)}</tbody>"
        for block in layout.blocks
    )
    return "\n".join(
        [
            "<table>",
            f"<caption>{'<br>'.join(map(in_html, layout.notes))}</caption>",
            f"<thead>\n<tr>{''.join(map(head, layout.columns))}</tr>\n</thead>",
            *bodies,
            "</table>",
            "",
        ]
    )


FORMATS: dict[str, Callable[[Layout], str]] = {
    "terminal": terminal,
    "markdown": markdown,
    "latex": latex,
    "html": html,
}


def _rows(layout: Layout) -> list[Sequence[Entry]]:
    return list(chain.from_iterable(layout.blocks))


def bottom(lines: Sequence[str], depth: int) -> list[str]:
    """Let lines stand at the foot of so many."""
    return [""] * (depth - len(lines)) + list(lines)
