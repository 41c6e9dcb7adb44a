"""Addresses of databases: read in one place, and shown without what may be a secret.

>>> shown("postgresql://me:hunter2@host:5432/results?sslpassword=hunter3")
'postgresql://host:5432/results'
>>> shown("results.db")
'results.db'
"""

import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*"
_DATABASES = r"(?:postgres\w*|sqlite|mysql|mariadb|oracle|mssql)(?:\+\w+)?"

# As RFC 3986 has it: elsewhere, signs that end a part are no part of it.
_ADDRESS = re.compile(
    rf"(?P<scheme>{_SCHEME})://"
    r"(?:(?P<user>[^/?#@:\s]*)(?::(?P<password>[^/?#@\s]*))?@)?"
    r"(?P<host>[\w.-]*|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{0,5}))?"
    r"(?:/(?P<database>[^?#@:&;,=\s]*))?"
    r"(?:\?(?P<query>.*))?",
    re.DOTALL,
)
_FILE = re.compile(r"(?P<scheme>sqlite(?:\+\w+)?):///(?P<database>[^?;&]*)(?:\?(?P<query>.*))?")

# What is meant as an address, also where a sign of it is missing. `./` makes any text a path.
_MEANT = re.compile(
    rf"{_SCHEME}://|{_DATABASES}(?::|//)|"
    r"(?!/[^/]|\.{1,2}/|~|[A-Za-z]:[\\/])(?:.*:[^@]*@|.*(?:pass\w*|pwd|secret|token)\s*=)",
    re.IGNORECASE | re.DOTALL,
)
_IN_TEXT = re.compile(
    rf"(?<![\w+.-])(?:{_SCHEME}://|{_DATABASES}(?:://?|//|:(?=\S)))[^\s'\"]*?(?=[:,;.)\]]*(?:[\s'\"]|$))",
    re.IGNORECASE,
)
_PLAIN = {
    "application_name", "connect_timeout", "dbname", "host", "mode", "options", "passfile",
    "password", "port", "sslcert", "sslkey", "sslmode", "sslpassword", "sslrootcert", "timeout",
    "uri", "user",
}  # fmt: skip
_HIDDEN = "***"


class Address(NamedTuple):
    """The parts of an address, decoded."""

    scheme: str
    user: str | None
    password: str | None
    host: str | None
    port: int | None
    database: str | None
    query: list[tuple[str, str]]

    @property
    def shown(self) -> str:
        """Scheme, host and database: nothing else of it is printed anywhere."""
        host = f"[{self.host}]" if self.host and ":" in self.host else self.host or ""
        port = "" if self.port is None else f":{self.port}"
        database = "" if self.database is None else f"/{self.database}"
        return f"{self.scheme}://{host}{port}{database}"


def is_address(location: str) -> bool:
    """Tell whether it is meant as one; anything else is a path."""
    return _MEANT.match(location) is not None


def address(location: str) -> Address | None:
    """Read an address; None where it reads in no way or in several."""
    found = _FILE.fullmatch(location) or _ADDRESS.fullmatch(location)
    if found is None:
        return None
    part = found.groupdict()
    user, password, host, port = (part.get(name) for name in ("user", "password", "host", "port"))
    return Address(
        scheme=found["scheme"],
        user=user and unquote(user),
        password=password and unquote(password),
        host=host and host.strip("[]"),
        port=int(port) if port else None,
        database=part["database"],
        query=parse_qsl(part["query"] or "", keep_blank_values=True),
    )


def shown(location: str) -> str:
    """Return a path as it is, and an address without what may be a secret."""
    if not is_address(location):
        return location
    if found := address(location):
        return found.shown
    scheme = re.match(_DATABASES, location, re.IGNORECASE)
    return f"{scheme[0]}://{_HIDDEN}" if scheme else _HIDDEN


def without_secrets(text: str, location: str) -> str:
    """Hide in what others say about an address what may be a secret of it."""
    if not is_address(location):
        return text
    for form in sorted({location, re.sub("/+", "/", location)}, key=len, reverse=True):
        text = text.replace(form, shown(location))
    for secret in sorted(set(_secrets(location)) - _PLAIN - {""}, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", _HIDDEN, text)
    return text


def _secrets(location: str) -> Iterator[str]:
    """Yield names, passwords and parameters, as written and decoded, and what they are made of."""
    found = address(location)
    if found is None:
        given = [location.partition(":")[2].lstrip("/")]
    else:
        given = [found.user or "", found.password or "", *sum(found.query, ())]
    for text in given:
        pieces = re.split(r"[\s=,;&:/?#@]+", text)
        yield from (text, *(piece for piece in pieces if len(piece) > 2))
    raw = re.split(r"[/?&=@:]+", location) if found and "%" in location else []
    yield from (piece for piece in raw if "%" in piece)


def without_addresses(text: str) -> str:
    """Hide the secrets of all addresses that stand in a text."""
    return _IN_TEXT.sub(lambda found: shown(found[0]), text)
