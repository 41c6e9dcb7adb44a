"""A laid-out table as text: for a terminal, Markdown, LaTeX or HTML."""

from collections.abc import Callable, Sequence
from html import escape
from itertools import chain

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from privrobust.tables.layout import Column, Entry, Layout

_WIDEST = 10_000


def terminal(layout: Layout) -> str:
    """Lines of text, as wide as they need."""
    console = Console(width=_WIDEST, color_system=None, force_terminal=False)
    table = rich_table(layout)
    console.width = Measurement.get(console, console.options, table).maximum
    with console.capture() as capture:
        console.print(table)
    return capture.get() + "\n".join(layout.notes) + "\n"


def rich_table(layout: Layout) -> Table:
    """For a console; the best of a column is bold and has a star."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 0, 0, 1))
    for column in layout.columns:
        title = "\n".join(column.header)
        table.add_column(title, justify="left" if column.is_text else "right", vertical="bottom")
    for block in layout.blocks:
        for row in block:
            table.add_row(*(Text(f"*{e.text}", "bold") if e.is_best else e.text for e in row))
        table.add_section()
    return table


def markdown(layout: Layout) -> str:
    """A table of GitHub's flavour, and the notes as a list; the best is bold."""

    def shown(entry: Entry) -> str:
        text = entry.text.replace("|", "\\|")
        return f"**{text}**" if entry.is_best else text

    lines = [
        [_title(column).replace("|", "\\|") for column in layout.columns],
        ["---" if column.is_text else "---:" for column in layout.columns],
        *([shown(entry) for entry in row] for row in _rows(layout)),
    ]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{table}\n\n" + "\n".join(f"- {note}" for note in layout.notes) + "\n"


_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "±": r"$\pm$", "≥": r"$\geq$", "∞": r"$\infty$", "†": r"$^\dagger$", "‡": r"$^\ddagger$",
    "°": r"$^\circ$", "¹": "$^1$", "²": "$^2$", "³": "$^3$",
}  # fmt: skip


def latex(layout: Layout) -> str:
    """A `tabular` of booktabs and its notes, for the body of any document that loads booktabs."""

    def tex(text: str) -> str:
        return "".join(_TEX.get(sign, sign if sign.isascii() else "?") for sign in text)

    def shown(entry: Entry) -> str:
        return rf"\textbf{{{tex(entry.text)}}}" if entry.is_best else tex(entry.text)

    def line(cells: Sequence[str]) -> str:
        return rf"{' & '.join(cells)} \\"

    depth = max(len(column.header) for column in layout.columns)
    heads = [
        line([tex(_bottom(column, depth)[place]) for column in layout.columns])
        for place in range(depth)
    ]
    blocks = ([line([shown(entry) for entry in row]) for row in block] for block in layout.blocks)
    body = "\n\\addlinespace\n".join("\n".join(block) for block in blocks)
    notes = "\n\n".join(rf"\noindent {tex(note)}" for note in layout.notes)
    places = "".join("l" if column.is_text else "r" for column in layout.columns)
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}",
            rf"\begin{{tabular}}{{{places}}}",
            r"\toprule",
            *heads,
            r"\midrule",
            body,
            r"\bottomrule",
            r"\end{tabular}",
            "",
            rf"{{\footnotesize {notes}\par}}",
            "",
        ]
    )


def html(layout: Layout) -> str:
    """A table element with its notes as the caption; the best is strong."""

    def head(column: Column) -> str:
        return f'<th scope="col">{"<br>".join(map(escape, column.header))}</th>'

    def cell(column: Column, entry: Entry) -> str:
        text = escape(entry.text)
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
            f"<caption>{'<br>'.join(map(escape, layout.notes))}</caption>",
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


def _title(column: Column) -> str:
    """In one line: words that were hyphenated are whole again."""
    return " ".join(column.header).replace("- ", "")


def _bottom(column: Column, depth: int) -> list[str]:
    return [""] * (depth - len(column.header)) + list(column.header)
