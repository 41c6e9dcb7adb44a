"""What lists say of accountants, and accountants of one's own that are named by their modules."""

import math
import sys
from contextlib import nullcontext
from importlib import import_module

import pytest
from made_releases import release
from typer.testing import CliRunner

from privrobust import RunSpec, train
from privrobust.accountants import (
    Accountant,
    Release,
    available_accountants,
    get_accountant,
    list_accountants,
    register_accountant,
    spend,
)
from privrobust.accountants.registry import list_samplings
from privrobust.accountants.release import ACCOUNTED_LAWS
from privrobust.accountants.sampling import ABOUT
from privrobust.cli.listing import Kind
from privrobust.cli.main import app
from privrobust.core.plugins import without_plugins
from privrobust.errors import SpecError
from privrobust.federated import Ledger
from privrobust.spec.run_fields import RunFields

MODULE = '''
import math
from privrobust.accountants import Accountant

class Concentrated(Accountant):
    """Bun, Steinke 2016, without what sampling saves."""
    name = "zcdp"

    def compose_epsilon(self, steps, delta):
        rho = math.fsum(count / (2 * step.noise_multiplier**2) for step, count in steps)
        return rho + 2 * math.sqrt(rho * math.log(1 / delta))

class Ours(Concentrated):
    name = "pld"

class Nameless(Accountant):
    def compose_epsilon(self, steps, delta):
        return 0.0

class Half(Accountant):
    name = "half"

def made():
    return Concentrated()

def other():
    return 5
'''
STEP = {"honest": 4, "clip_norm": 1.0, "noise_scale": 0.1, "steps": 3}


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "own_accounts.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_accounts", raising=False)
    return import_module("own_accounts")


def scopes():
    return {entry.facts["name"]: entry.facts["remarks"] for entry in list_accountants()}


def test_the_list_says_what_each_bounds():
    told = scopes()
    assert list(told) == available_accountants()
    assert told["pld"].startswith("an upper bound: gaussian noise (sampling: poisson, shuffled, fi")
    assert told["gdp"].startswith("an estimate")
    assert told["sign"].startswith("an upper bound: the signs of gaussian noise")
    assert "logistic noise" in told["rdp"]
    assert "logistic" not in told["pld"]


@pytest.mark.parametrize("sampling", ABOUT)
@pytest.mark.parametrize("law", ACCOUNTED_LAWS)
def test_the_list_promises_what_an_accountant_does_and_no_more(law, sampling):
    """Asked for the epsilon itself, of another release than the list asks about."""
    told = scopes()
    for name in available_accountants():
        of = Release(
            noise_scale=0.7, clip_norm=0.5, batch_size=10, dataset_size=100, steps=20,
            noise=law, sampling=sampling, message="sign" if name == "sign" else "vector",
        )  # fmt: skip
        part = [each for each in told[name].partition(": ")[2].split("; ") if law in each]
        said = bool(part) and sampling in part[0].partition("sampling: ")[2].strip(")").split(", ")
        with nullcontext() if said else pytest.raises(SpecError, match="does not support"):
            spend(of, accountant=name)


def test_the_list_of_samplings_is_that_of_runs():
    accepted = RunFields.model_fields["sampling"].annotation.__args__
    assert set(ABOUT) == set(accepted)
    charged = {entry.facts["name"]: entry.facts["remarks"] for entry in list_samplings()}
    assert charged["balls_in_bins"] == "charged by rdp"
    assert charged["fixed"] == "charged by pld, rdp"


def test_every_list_is_named_and_can_be_read():
    run = CliRunner()
    kinds = run.invoke(app, ["list"]).stdout.split()
    assert kinds == list(Kind.__members__)
    for kind in kinds:
        told = run.invoke(app, ["list", kind])
        assert told.exit_code == 0
        assert len(told.stdout.splitlines()) > 1


def test_an_own_one_is_listed_with_what_it_bounds(module):
    register_accountant(module.Concentrated())
    assert scopes()["zcdp"] == "an upper bound: gaussian noise (sampling: poisson, shuffled)"


@pytest.mark.parametrize("name", ["own_accounts:Concentrated", "own_accounts:made"])
def test_one_is_named_by_its_module(module, name, tmp_path):
    made = get_accountant(name)
    assert made.name == "zcdp"
    rho = 10 / 2  # of sigma 1, whatever q is
    of_theorem = rho + 2 * math.sqrt(rho * math.log(1e5))
    assert spend(release(0.5, 1.0, 10), accountant=name).epsilon == pytest.approx(of_theorem)
    result = train(RunSpec(accountant=name, **STEP))
    assert result.spent.accountant == "zcdp"
    assert result.epsilon > train(RunSpec(**STEP)).epsilon
    with Ledger(tmp_path / "ledger.db", "ward", accountant=name) as ledger:
        spent = ledger.charge(release(0.5, 2.0, 1))
    assert spent.accountant == "zcdp"
    settings = ["-b", "0.5", "-C", "1", "-B", "1", "-n", "10", "-T", "10"]
    command = ["budget", *settings, "--accountant", name]
    assert "zcdp" in CliRunner().invoke(app, command).stdout


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("own_accounts:Ours", "calls itself 'pld'"),
        ("own_accounts:Nameless", "calls itself None"),
        ("own_accounts:Half", "does not define compose_epsilon"),
        ("own_accounts:other", "made 5"),
        ("own_accounts:MODULE", "has no 'MODULE'"),
        ("own_accounts:math", "not callable"),
        ("os:getcwd", "of Python's own library"),
        ("own_accounts:made(x=1)", "has no parameter 'x'"),
        ("nowhere:Nothing", "there is no module 'nowhere'"),
    ],
)
def test_what_is_no_accountant_of_ones_own_is_refused(module, name, problem):
    with pytest.raises(SpecError, match=f"^accountant: .*{problem}") as raised:
        RunSpec(accountant=name)
    assert "\n" not in str(raised.value)


def test_no_plugins_imports_no_accountant(module):
    with without_plugins(), pytest.raises(SpecError, match="--no-plugins refuses"):
        RunSpec(accountant="own_accounts:Concentrated")


def test_what_an_accountant_supports_is_what_it_has_a_value_for():
    class Picky(Accountant):
        name = "picky"

        def compose_epsilon(self, steps, delta):
            return 1.0

    assert Picky().supports(release(0.5, 1.0, 10))
    of_laplace = Release(noise_scale=1, clip_norm=1, unit="worker", steps=1, noise="laplace")
    assert not Picky().supports(of_laplace)
