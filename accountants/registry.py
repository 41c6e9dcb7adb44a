"""Accountants by name."""

from privrobust.accountants.basic import Basic
from privrobust.accountants.gdp import GDP
from privrobust.accountants.moments import Moments
from privrobust.accountants.pld import PLD
from privrobust.accountants.protocol import Accountant
from privrobust.accountants.prv import PRV
from privrobust.accountants.rdp import RDP
from privrobust.accountants.sign import Sign
from privrobust.accountants.strong import Strong
from privrobust.core.numbers import own, shown
from privrobust.core.plugins import Own
from privrobust.core.registry import Entry, Registry
from privrobust.errors import SpecError, unknown_name

_BUILT_IN = (Sign(), PLD(), PRV(), RDP(), Moments(), GDP(), Strong(), Basic())
ACCOUNTANTS: Registry[Accountant] = Registry(
    "accountant",
    {accountant.name: accountant for accountant in _BUILT_IN},
    Own((), "one of a class that derives from privrobust.accountants.Accountant", Accountant),
    reserved=("all", "auto"),
)


def available_accountants() -> list[str]:
    """Return the names that a spec may use, besides "auto".

    They come roughly from the tightest to the loosest, then those of your own.
    """
    return list(ACCOUNTANTS)


def list_accountants() -> list[Entry]:
    """Describe every accountant, as `privrobust list accountants` shows them."""
    return [
        ACCOUNTANTS.entry(
            name,
            "an upper bound"
            if ACCOUNTANTS[name].is_upper_bound
            else "an estimate, which may be smaller than the truth",
        )
        for name in available_accountants()
    ]


def accountants_of(message: str) -> list[str]:
    """Return the names of those that know such messages; "sign" has nothing to say of vectors."""
    return [
        name
        for name in available_accountants()
        if message == "sign" or not ACCOUNTANTS[name].knows_signs
    ]


def get_accountant(name: str) -> Accountant:
    """Return the accountant of that name.

    Raises:
        SpecError: no accountant has that name.

    """
    name = own("accountant", name)
    if not isinstance(name, str):
        raise SpecError(f"accountant: {shown(name)} is not a name")
    if name not in ACCOUNTANTS:
        raise unknown_name("accountant", name, ACCOUNTANTS)
    return ACCOUNTANTS[name]


def register_accountant(accountant: Accountant) -> None:
    """Make an accountant available by its name; an earlier one of your own is replaced.

    Raises:
        SpecError: the name is one of ours, "all" or "auto", or it is no accountant.

    """
    ACCOUNTANTS.register(getattr(accountant, "name", "?"), accountant)
