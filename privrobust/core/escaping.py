"""Names and other people's text, for languages that read some of its signs as commands."""

import codecs
import re
from html import escape
from unicodedata import normalize

_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "[": "{[}",  # at the start of a row it would be an option of the line's end before it
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "±": r"$\pm$", "≥": r"$\geq$", "∞": r"$\infty$", "†": r"$^\dagger$", "‡": r"$^\ddagger$",
    "°": r"$^\circ$", "§": r"\S{}", "¶": r"\P{}", "¹": "$^1$", "²": "$^2$", "³": "$^3$",
}  # fmt: skip

# What shows as nothing, or as a gap, and still counts as printable.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)

_NUMBER = re.compile(r"[-+]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|inf)")
# Spreadsheets take a cell that starts so for a formula; some of them part cells at a semicolon.
_FORMULA = re.compile(r"(?:^|(?<=;))(?=\s*[-=+@\uff0d\uff1d\uff0b\uff20])")

# A star after a space closes no emphasis, and an underscore between letters is no sign.
_MARKDOWN = re.compile(r"[\\`<>|~\[\]]|(?<!\s)\*|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])")


def in_tex(text: str) -> str:
    r"""Write text for LaTeX, which reads UTF-8: letters are kept, whatever their alphabet.

    >>> print(in_tex("a_b ≥ 5 % of naïve"))
    a\_b $\geq$ 5 \% of naïve

    """
    composed = normalize("NFC", text)  # pdfLaTeX knows é, and not e with an accent to be added
    return "".join(_TEX.get(sign, sign) for sign in in_terminal(composed))


def in_markdown(text: str) -> str:
    r"""Write text for Markdown of GitHub's flavour, tables included.

    >>> print(in_markdown("majority_vote, *[old](b)*"))
    majority_vote, *\[old\](b)\*

    """
    return _MARKDOWN.sub(lambda sign: f"\\{sign[0]}", in_terminal(text))


def in_html(text: str) -> str:
    r"""Write text for HTML.

    >>> print(in_html("<a\u202eb>"))
    &lt;a\u202eb&gt;

    """
    return escape(in_terminal(text))


def in_csv(text: str) -> str:
    r"""Write text for a cell of a CSV file, which spreadsheets open: no formula, and one line.

    >>> print(in_csv("=1+1"), in_csv("-1"))
    '=1+1 -1

    """
    shown = in_terminal(text)
    return shown if _NUMBER.fullmatch(shown) else _FORMULA.sub("'", shown)


def in_figure(text: str) -> str:
    r"""Write text for matplotlib, which reads what is between two dollars as mathematics.

    >>> print(in_figure("$a$"))
    \$a\$

    """
    return re.sub(r"(?<!\\)\$", r"\\$", in_terminal(text))


def in_terminal(text: str) -> str:
    r"""Write text in one line of signs that show, and in their order.

    Terminals take others for commands, or hide them, or let them turn what follows around.

    >>> print(in_terminal("a\x1b[31mb"))
    a\x1b[31mb

    """
    if text.isprintable() and not _UNSEEN.search(text):
        return text
    return "".join(
        sign
        if sign.isprintable() and not _UNSEEN.match(sign)
        else sign.encode("unicode_escape").decode()
        for sign in text
    )


def in_lines(text: str) -> str:
    """Write text as `in_terminal` does, line by line."""
    return "\n".join(map(in_terminal, text.split("\n")))


PLAIN = "privrobust_plain"
"""How streams and `str.encode` treat errors: our signs have stand-ins, é is e, others are a `?`."""

# Of the notes' marks none may be taken for another, nor for a part of a number.
_STAND_INS = {
    "±": "+-", "≥": ">=", "∞": "inf", "─": "-", "†": "^+", "‡": "^++", "°": "^o", "§": "^s",
    "¶": "^p", "¹": "^1", "²": "^2", "³": "^3", "ᵢ": "_i",
}  # fmt: skip


def _stand_in(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    bare = (normalize("NFKD", sign).encode("ascii", "ignore").decode() for sign in signs)
    stand_ins = (
        _STAND_INS.get(sign) or letter or "?" for sign, letter in zip(signs, bare, strict=True)
    )
    return "".join(stand_ins), error.end


codecs.register_error(PLAIN, _stand_in)


def in_encoding(text: str, encoding: str) -> str:
    """Write text in the signs that an encoding has.

    >>> print(in_encoding("83±5", "ascii"))
    83+-5

    """
    return text.encode(encoding, PLAIN).decode(encoding)
