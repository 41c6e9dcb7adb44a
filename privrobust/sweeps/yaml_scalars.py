"""Which plain scalars of YAML are numbers: those of YAML 1.2, which PyYAML does not know.

To PyYAML, which reads YAML 1.1, 1e-3 is text, 010 is eight, 1:30 is ninety and 2026-01-02 a date.
YAML 1.2 reads 0.001 and ten, and leaves the others text.

References: https://yaml.org/spec/1.2.2/#1032-tag-resolution

"""

import re

import yaml

_TAG = "tag:yaml.org,2002:"
_NUMBERS = {
    "int": r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
}
_LEFT_OUT = {f"{_TAG}{name}" for name in (*_NUMBERS, "timestamp", "value")}
_BASES = {"0o": 8, "0x": 16}


class NumbersOf12(yaml.resolver.Resolver):
    """For a loader or a dumper to derive from, before PyYAML's own, so that the two agree."""


NumbersOf12.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in forms if tag not in _LEFT_OUT]
    for first, forms in yaml.resolver.Resolver.yaml_implicit_resolvers.items()
}
for _name, _form in _NUMBERS.items():
    NumbersOf12.add_implicit_resolver(
        f"{_TAG}{_name}", re.compile(rf"(?:{_form})\Z"), list("-+.0123456789")
    )


def whole(text: str) -> int:
    """Return the number that a scalar of YAML 1.2 is.

    Raises:
        ValueError: it is none, or has more digits than Python reads.

    """
    base = _BASES.get(text[:2], 10)
    return int(text[2:] if base != 10 else text, base)
