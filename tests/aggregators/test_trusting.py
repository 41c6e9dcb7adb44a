"""FLTrust against its paper's formula, and with a majority of Byzantine workers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from privrobust.aggregators import FLTrust, get_aggregator
from privrobust.errors import SpecError


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def trusting(messages, public):
    """Average by the cosines that are above 0, each message at the server's norm."""
    norms = np.linalg.norm(messages, axis=1)
    norm = np.linalg.norm(public)
    trust = np.maximum(messages @ public / norms / norm, 0)
    return (trust / trust.sum()) @ (messages / norms[:, None]) * norm


@pytest.mark.parametrize("size", [1.0, 1e-30, 1e30])
@pytest.mark.parametrize("of_server", [1.0, 1e-35, 1e34])
def test_fltrust_is_its_formula(size, of_server):
    messages = (draw(9, 40).double() * size * 10.0 ** torch.arange(-4, 5).unsqueeze(-1)).float()
    public = of_server * draw(40, seed=1)
    expected = trusting(messages.double().numpy(), public.double().numpy())
    made = FLTrust()(messages, public=public)
    np.testing.assert_allclose(made / of_server, expected / of_server, rtol=1e-4, atol=1e-6)


@given(
    byzantine=st.integers(0, 9),
    hostile=st.sampled_from([torch.nan, torch.inf, -torch.inf, 3e38, -1e30, -1.0, 0.0, 1e-44]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=60)
def test_whoever_is_the_majority_the_result_is_no_longer_and_not_opposite(byzantine, hostile, seed):
    public = draw(10, seed=seed)
    messages = torch.cat([draw(2, 10, seed=seed + 1), hostile * draw(byzantine, 10, seed=seed + 2)])
    made = get_aggregator("fltrust", byzantine=byzantine)(messages, public=public)
    assert made.norm() <= (1 + 1e-5) * public.norm()
    assert made @ public >= -1e-5 * public.norm() ** 2


def test_who_points_the_other_way_does_not_count():
    public = draw(30)
    honest = public + 0.1 * draw(3, 30, seed=1)
    expected = FLTrust()(honest, public=public)
    made = FLTrust()(torch.cat([honest, -1e6 * honest, -honest]), public=public)
    torch.testing.assert_close(made, expected)
    assert torch.equal(FLTrust()(-honest, public=public), torch.zeros(30))


@pytest.mark.parametrize("public", [torch.zeros(4), torch.full((4,), torch.nan)])
def test_a_server_that_knows_nothing_trusts_nobody(public):
    assert torch.equal(FLTrust()(draw(3, 4), public=public), torch.zeros(4))


@pytest.mark.parametrize(
    "public", [None, torch.zeros(3), torch.zeros(1, 4), torch.zeros(4).double(), [0.0] * 4]
)
def test_without_such_a_gradient_it_says_so(public):
    with pytest.raises(
        SpecError, match=r"FLTrust: public .* is not accepted: torch.float32 \(4,\)"
    ):
        FLTrust()(draw(3, 4), public=public)
