"""Accountants by name."""

from typing import cast

from privrobust.accountants.basic import Basic
from privrobust.accountants.gdp import GDP
from privrobust.accountants.moments import Moments
from privrobust.accountants.pld import PLD
from privrobust.accountants.protocol import Accountant
from privrobust.accountants.prv import PRV
from privrobust.accountants.rdp import RDP
from privrobust.accountants.release import ACCOUNTED_LAWS, AccountedLaw, Release
from privrobust.accountants.sampling import ABOUT, Sampling
from privrobust.accountants.sign import Sign
from privrobust.accountants.strong import Strong
from privrobust.core.numbers import own, shown
from privrobust.core.plugins import Own
from privrobust.core.registry import Entry, Registry
from privrobust.errors import SpecError, unknown_name

_RESERVED = ("all", "auto")
_BUILT_IN = (Sign(), PLD(), PRV(), RDP(), Moments(), GDP(), Strong(), Basic())
ACCOUNTANTS: Registry[Accountant] = Registry(
    "accountant",
    {accountant.name: accountant for accountant in _BUILT_IN},
    Own(
        (Accountant,),
        "one of a class that derives from privrobust.accountants.Accountant",
        Accountant,
    ),
    reserved=_RESERVED,
)


def available_accountants() -> list[str]:
    """Return the names that a spec may use, besides "auto".

    They come roughly from the tightest to the loosest, then those of your own.
    """
    return list(ACCOUNTANTS)


def list_accountants() -> list[Entry]:
    """Describe every accountant, and what it bounds, as `privrobust list accountants` does."""
    return [ACCOUNTANTS.entry(name, _scope(ACCOUNTANTS[name])) for name in available_accountants()]


def list_samplings() -> list[Entry]:
    """Describe how batches may be drawn, and who charges that, as `privrobust list samplings`."""
    return [
        Entry(name, about, f"charged by {', '.join(_charging(name))}")
        for name, about in ABOUT.items()
    ]


def _scope(accountant: Accountant) -> str:
    """Say whether an accountant gives a bound, and of which noise and samples."""
    kind = "an upper bound" if accountant.is_upper_bound else "an estimate, perhaps too small"
    of = "the signs of " if accountant.knows_signs else ""
    schemes: dict[str, list[str]] = {}
    for law in ACCOUNTED_LAWS:
        known = [name for name in ABOUT if accountant.supports(_typical(accountant, law, name))]
        if known:
            schemes.setdefault(", ".join(known), []).append(law)
    told = [
        f"{of}{' and '.join(laws)} noise (sampling: {known})" for known, laws in schemes.items()
    ]
    return f"{kind}: {'; '.join(told) or 'of nothing that is known here'}"


def _charging(sampling: str) -> list[str]:
    """Name the accountants that know Gaussian noise on batches that are so drawn."""
    return [
        name
        for name in available_accountants()
        if ACCOUNTANTS[name].supports(_typical(ACCOUNTANTS[name], "gaussian", sampling))
    ]


def _typical(accountant: Accountant, law: AccountedLaw, sampling: str) -> Release:
    """Return a release of that law and sampling: signs for those that know them."""
    return Release(
        noise_scale=1.0,
        steps=2,
        clip_norm=1.0,
        batch_size=2,
        dataset_size=4,
        noise=law,
        sampling=cast(Sampling, sampling),
        message="sign" if accountant.knows_signs else "vector",
    )


def accountants_of(message: str) -> list[str]:
    """Return the names of those that know such messages; "sign" has nothing to say of vectors."""
    return [
        name
        for name in available_accountants()
        if message == "sign" or not ACCOUNTANTS[name].knows_signs
    ]


def get_accountant(name: str) -> Accountant:
    """Return the accountant of that name, or make that of `package.module:Class`.

    Raises:
        SpecError: no accountant has that name; or what is named is none, or goes by one of ours.

    """
    name = own("accountant", name)
    if not isinstance(name, str):
        raise SpecError(f"accountant: {shown(name)} is not a name")
    if name in ACCOUNTANTS:
        return ACCOUNTANTS[name]
    if ":" not in name:
        raise unknown_name("accountant", name, ACCOUNTANTS)
    made = ACCOUNTANTS.get(name)
    if not isinstance(made, Accountant):
        raise SpecError(
            f"accountant: {name} made {shown(made)}; accepted: {ACCOUNTANTS.own.accepted}"
        )
    itself = getattr(made, "name", None)
    if not isinstance(itself, str) or itself in {*ACCOUNTANTS.built_in, *_RESERVED}:
        raise SpecError(
            f"accountant: {name} calls itself {shown(itself)}; accepted: a name that is none of "
            "what is built in"
        )
    return made


def register_accountant(accountant: Accountant) -> None:
    """Make an accountant available by its name; an earlier one of your own is replaced.

    Raises:
        SpecError: the name is one of ours, "all" or "auto", or it is no accountant.

    """
    name = getattr(accountant, "name", "?")
    if isinstance(accountant, type):
        raise SpecError(
            f"accountant: {name} is {shown(accountant, 200)}; accepted: {ACCOUNTANTS.own.accepted}"
        )
    ACCOUNTANTS.register(name, accountant)
