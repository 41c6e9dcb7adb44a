import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from privrobust.aggregators import Median
from privrobust.attacks import ALIE, LargeValue, SignFlip, available_attacks, get_attack
from privrobust.attacks.alie import z_max
from privrobust.errors import SpecError


def messages(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


@pytest.mark.parametrize("attack", [SignFlip(), LargeValue(), ALIE()])
@pytest.mark.parametrize("lead", [(), (3,), (2, 3)])
def test_attacks_broadcast_over_lanes(attack, lead):
    honest = messages(*lead, 8, 5)
    sent = attack(honest, byzantine=3)
    assert sent.shape == (*lead, 3, 5)
    for index in np.ndindex(*lead):
        assert torch.equal(sent[index], attack(honest[index], byzantine=3))


def test_sign_flip_mirrors_the_mean():
    honest = messages(6, 4)
    np.testing.assert_allclose(SignFlip(scale=2.0)(honest, 1)[0], -2 * honest.numpy().mean(0))


def test_large_value_stands_against_the_mean():
    honest = messages(6, 4)
    np.testing.assert_allclose(
        LargeValue(scale=9.0)(honest, 2)[1], -9 * np.sign(honest.numpy().mean(0))
    )


def test_no_placement_moves_the_median_further_than_large_value():
    honest, byzantine = messages(9, 50), 3
    direction = honest.mean(0).sign()
    moved = direction * Median()(torch.cat([honest, LargeValue()(honest, byzantine)]))
    for seed in range(20):
        other = 10 * torch.randn(byzantine, 50, generator=torch.Generator().manual_seed(seed))
        assert (moved <= direction * Median()(torch.cat([honest, other.double()]))).all()


@given(st.floats(-5, 5))
def test_alie_is_mean_minus_z_standard_deviations(z):
    honest = messages(7, 4)
    expected = honest.numpy().mean(0) - z * honest.numpy().std(0)
    np.testing.assert_allclose(ALIE(z=z)(honest, 2)[0], expected, atol=1e-12)


@pytest.mark.parametrize(
    ("n", "f", "hidden"),
    # n = 50, f = 24 is the example of Baruch et al. 2019, section 3: s = 2, z = Phi^-1(24/26)
    [(50, 24, 24 / 26), (14, 4, 6 / 10), (15, 4, 7 / 11), (12, 2, 1 / 2)],
)
def test_published_z(n, f, hidden):
    assert z_max(n, f) == pytest.approx(stats.norm.ppf(hidden))
    np.testing.assert_allclose(
        ALIE()(messages(n - f, 3), f), ALIE(z=z_max(n, f))(messages(n - f, 3), f)
    )


def test_alie_without_a_z_says_so():
    with pytest.raises(SpecError, match="z is not defined for 9 Byzantine of 11 workers"):
        ALIE()(messages(2, 3), byzantine=9)


@pytest.mark.parametrize("name", ["alie", "large_value", "sign_flip"])
def test_names(name):
    assert name in available_attacks()
    attack = get_attack(name)
    assert attack == eval(repr(attack))


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("sign_flop", {}, r"unknown name 'sign_flop'; did you mean 'sign_flip'\?"),
        ("alie", {"zz": 1.0}, r"alie has no parameter 'zz' \(it takes: z\)"),
        ("alie", {"z": float("nan")}, "ALIE.z: nan is not a finite number"),
        ("large_value", {"scale": -1.0}, "LargeValue.scale: -1.0 is not a finite number above 0"),
    ],
)
def test_bad_attacks(name, parameters, message):
    with pytest.raises(SpecError, match=message):
        get_attack(name, **parameters)
