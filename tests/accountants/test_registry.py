import math
import subprocess
import sys
from collections.abc import Callable

import pytest
from made_releases import release

from privrobust.accountants import (
    Accountant,
    Release,
    available_accountants,
    delta,
    epsilon,
    get_accountant,
    register_accountant,
    spend,
)
from privrobust.accountants.mechanism import Composition
from privrobust.errors import SpecError


class Failing(Accountant):
    """Fails the way that a library does."""

    name = "failing"
    is_upper_bound = False

    def compose_epsilon(self, steps: Composition, delta: float) -> float:
        raise ZeroDivisionError("float division by zero")


@pytest.fixture
def failing() -> Accountant:
    accountant = Failing()
    register_accountant(accountant)
    return accountant


def test_names() -> None:
    assert available_accountants() == [
        "sign", "pld", "prv", "rdp", "moments", "gdp", "strong", "basic",
    ]  # fmt: skip
    estimates = [
        name for name in available_accountants() if not get_accountant(name).is_upper_bound
    ]
    assert estimates == ["gdp", "strong"]
    assert get_accountant("gdp").label == "gdp (estimate)"


def test_a_registered_accountant_is_guarded(failing: Accountant) -> None:
    assert "failing" in available_accountants()
    with pytest.raises(SpecError, match=r"^accountant: failing has no value for 10 steps of sigma"):
        epsilon(release(0.1, 1.0, 10), accountant="failing")


def test_auto_says_whom_it_asked() -> None:
    r = release(0.1, 2.0, 10)
    assert spend(r, 1e-5).accountant == "pld"
    assert spend(r, 1e-14).accountant == "pld"
    assert spend(release(1.0, 2.0, 1, noise="laplace"), 1e-14).epsilon == pytest.approx(0.5)


def test_no_noise_is_infinite_for_all() -> None:
    r = release(0.1, 0.0, 10)
    for name in ["auto", *available_accountants()]:
        spent = spend([release(0.1, 2.0, 10), r], 1e-5, name)
        assert (spent.epsilon, spent.reason) == (math.inf, "no noise (b = 0)")
        assert delta(r, 1.0, name) == 1.0


@pytest.mark.parametrize("value", [0.0, 1.0, -1e-5, math.nan])
def test_delta_is_a_probability(value: float) -> None:
    with pytest.raises(SpecError, match=r"^delta: .* is not between 0 and 1, both excluded"):
        epsilon(release(0.1, 2.0, 10), value)


@pytest.mark.parametrize("value", [-1.0, math.inf, math.nan])
def test_epsilon_is_finite(value: float) -> None:
    with pytest.raises(SpecError, match=r"^epsilon: .* is not a finite number, 0 or more"):
        delta(release(0.1, 2.0, 10), value)


def test_releases_that_protect_different_things_do_not_compose() -> None:
    example = release(0.1, 2.0, 10)
    worker = Release(noise_scale=1, clip_norm=1, steps=1, unit="worker", sampling="full")
    with pytest.raises(
        SpecError, match=r"^unit: releases that compose must agree, not example and"
    ):
        epsilon([example, worker])
    with pytest.raises(SpecError, match=r"^releases: an empty sequence"):
        epsilon([])


def test_importing_loads_neither_torch_nor_opacus() -> None:
    code = (
        "import sys, privrobust.accountants as a;"
        "a.epsilon(a.Release(noise_scale=1, clip_norm=1, batch_size=1, dataset_size=2, steps=1));"
        "print([m for m in ('torch', 'opacus') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_value_is_an_error_in_both_directions() -> None:
    r = Release(noise_scale=0.005, clip_norm=1.0, batch_size=32, dataset_size=95, steps=300)
    for call in (lambda: epsilon(r, 1e-5, "prv"), lambda: delta(r, 2500.0, "prv")):
        with pytest.raises(SpecError, match=r"prv has no value for 300 steps of sigma = 0\.16"):
            call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: epsilon(r, "1e-5"), "delta: '1e-5' is not between 0 and 1"),
        (lambda r: epsilon(r, None), "delta: None is not between 0 and 1"),
        (lambda r: delta(r, "1"), "epsilon: '1' is not a finite number"),
        (lambda r: epsilon([r, 2]), "releases: 2 is not a Release"),
        (lambda r: epsilon([]), "releases: an empty sequence"),
    ],
)
def test_arguments_of_other_types_are_refused(
    call: Callable[[Release], float], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        call(release(0.1, 2.0, 10))


def test_iterators_of_releases_compose_too() -> None:
    each = [release(0.1, 2.0, 10), release(0.2, 2.0, 10)]
    assert epsilon(iter(each), 1e-14) == epsilon(each, 1e-14)
