"""How a ledger writes releases: every number exactly, and sealed so that damage shows.

>>> release = Release(noise_scale=0.1, clip_norm=1.0, unit="worker", steps=1)
>>> release_of("a ward", written(release), seal("a ward", written(release))) == release
True
"""

import json
from hashlib import blake2b
from typing import NamedTuple

from sqlalchemy import BigInteger, Column, Float, Index, Integer, MetaData, String, Table, Text

from privrobust.accountants import Release
from privrobust.core.numbers import shown
from privrobust.errors import SpecError, unknown_name
from privrobust.noise.laws import NOISE_LAWS

VERSION = 1
"""Raise it with every change of these tables, or of what a seal is of."""

METADATA = MetaData()
ABOUT = Table(
    "privacy_ledger",
    METADATA,
    Column("version", Integer, primary_key=True, autoincrement=False),
)
DATA = Table(
    "privacy_ledger_data",
    METADATA,
    Column("name", String, primary_key=True),
    Column("max_epsilon", Float(53)),
    Column("delta", Float(53), nullable=False),
    Column("charges", BigInteger, nullable=False),
    Column("seal", String(16), nullable=False),
)
CHARGES = Table(
    "privacy_ledger_charges",
    METADATA,
    Column("place", Integer, primary_key=True),
    Column("data", String, nullable=False),
    Column("made", String, nullable=False),
    Column("note", Text, nullable=False),
    Column("release", Text, nullable=False),
    Column("seal", String(16), nullable=False),
    Index("privacy_ledger_by_kind", "data", "seal"),
)


class Damaged(Exception):
    """What is written is not what was written."""


class Terms(NamedTuple):
    """What holds of some data."""

    max_epsilon: float | None
    delta: float
    charges: int
    """How many there are: one that is lost shows."""


class Entry(NamedTuple):
    """A charge."""

    when: str
    """In UTC, to the second."""
    note: str
    release: Release


def seal(*parts: object) -> str:
    """Return what tells whether these parts are still as they were: it keeps no secret."""
    return blake2b(repr(parts).encode(), digest_size=8).hexdigest()


def checked(release: object) -> Release:
    """Return a release that can be written.

    Raises:
        SpecError: it is none, or of noise that is a user's own: whoever read it back would run the
            code that it names.

    """
    if type(release) is not Release:
        raise SpecError(f"release: {shown(release)} is not a Release")
    if release.noise not in NOISE_LAWS:
        raise unknown_name("noise", release.noise, NOISE_LAWS)
    return release


def written(release: Release) -> str:
    """Write a release; equal ones alike."""
    return json.dumps(release.given, sort_keys=True, allow_nan=False)


def release_of(data: str, text: object, sealed: object) -> Release:
    """Read what was written.

    Raises:
        Damaged: it was not.

    """
    if seal(data, text) != sealed:
        raise Damaged
    try:
        values = json.loads(str(text))
        if values["noise"] not in NOISE_LAWS:  # before the code that it names is run
            raise Damaged
        return Release(**values)
    except (KeyError, TypeError, ValueError):
        raise Damaged from None
