"""Names and other people's text, for languages that read some of its signs as commands."""

import re
from unicodedata import normalize

_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "[": "{[}",  # at the start of a row it would be an option of the line's end before it
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "±": r"$\pm$", "≥": r"$\geq$", "∞": r"$\infty$", "†": r"$^\dagger$", "‡": r"$^\ddagger$",
    "°": r"$^\circ$", "¹": "$^1$", "²": "$^2$", "³": "$^3$",
}  # fmt: skip

# A star after a space closes no emphasis, and an underscore between letters is no sign.
_MARKDOWN = re.compile(r"[\\`<>|~\[\]]|(?<!\s)\*|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])")


def in_tex(text: str) -> str:
    r"""Write text for LaTeX, which reads UTF-8: letters are kept, whatever their alphabet.

    >>> print(in_tex("a_b ≥ 5 % of naïve"))
    a\_b $\geq$ 5 \% of naïve

    """
    composed = normalize("NFC", text)  # pdfLaTeX knows é, and not e with an accent to be added
    return "".join(_TEX.get(sign, sign) for sign in composed)


def in_markdown(text: str) -> str:
    r"""Write text for Markdown of GitHub's flavour, tables included.

    >>> print(in_markdown("majority_vote, *[old](b)*"))
    majority_vote, \*\[old\](b)\*

    """
    return _MARKDOWN.sub(lambda sign: f"\\{sign[0]}", text)


def in_figure(text: str) -> str:
    r"""Write text for matplotlib, which reads what is between two dollars as mathematics.

    >>> print(in_figure("$a$"))
    \$a\$

    """
    return text.replace("$", r"\$")


def in_terminal(text: str) -> str:
    r"""Write text for a terminal, which takes some signs for commands: lines are all it may make.

    >>> print(in_terminal("a\x1b[31mb"))
    a\x1b[31mb

    """
    return "".join(
        sign if sign.isprintable() or sign == "\n" else sign.encode("unicode_escape").decode()
        for sign in text
    )
