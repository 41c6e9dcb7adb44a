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
from privrobust.errors import SpecError, unknown_name

_ACCOUNTANTS: dict[str, Accountant] = {
    accountant.name: accountant
    for accountant in (Sign(), PLD(), PRV(), RDP(), Moments(), GDP(), Strong(), Basic())
}


def available_accountants() -> list[str]:
    """Names that a spec may use, besides "auto"; roughly from the tightest to the loosest."""
    return list(_ACCOUNTANTS)


def accountants_of(message: str) -> list[str]:
    """Names of those that have something to say about such messages: of vectors, not "sign"."""
    return [
        name for name, each in _ACCOUNTANTS.items() if message == "sign" or not each.knows_signs
    ]


def get_accountant(name: str) -> Accountant:
    """The accountant of that name.

    Raises:
        SpecError: no accountant has that name.

    """
    name = own("accountant", name)
    if not isinstance(name, str):
        raise SpecError(f"accountant: {shown(name)} is not a name")
    if name not in _ACCOUNTANTS:
        raise unknown_name("accountant", name, _ACCOUNTANTS)
    return _ACCOUNTANTS[name]


def register_accountant(accountant: Accountant) -> None:
    """Make an accountant of one's own available by its name.

    Raises:
        SpecError: the name is taken.

    """
    if accountant.name in ("all", "auto", *_ACCOUNTANTS):
        raise SpecError(f"accountant: the name {accountant.name!r} is taken")
    _ACCOUNTANTS[accountant.name] = accountant
