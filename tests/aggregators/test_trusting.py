"""FLTrust against its paper's formula, with a majority of Byzantine workers, and in runs."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from privrobust import RunSpec, train
from privrobust.aggregators import Aggregator, FLTrust, get_aggregator
from privrobust.data import get_dataset
from privrobust.errors import SpecError
from privrobust.gradients.layout import Layout
from privrobust.models.validation import initial_parameters
from privrobust.training.loop import train_lanes

RUN = {"clip_norm": 1.0, "steps": 40, "honest": 4, "noise_scale": 0.01, "learning_rate": 2.0}


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


def test_runs_withstand_three_quarters():
    """Where a median follows the majority."""
    settings = {**RUN, "byzantine": 12, "attack": "sign_flip"}
    assert train(RunSpec(**settings, aggregator="fltrust")).accuracy > 0.7
    assert train(RunSpec(**settings, aggregator="mean")).accuracy < 0.3


def test_lanes_of_other_rules_and_seeds_are_the_runs_alone():
    specs = [
        RunSpec(**RUN, aggregator=rule, seed=seed)
        for rule, seed in (("fltrust", 0), ("median", 0), ("arc + fltrust(examples=7)", 1))
    ]
    for spec, beside in zip(specs, train_lanes(specs), strict=True):
        alone = train(spec)
        assert alone.history.equals(beside.history)
    assert not train(specs[0]).history.equals(
        train(specs[2].model_copy(update={"seed": 0})).history
    )


told = []


class Told(Aggregator):
    """The server's gradient alone, which it keeps."""

    public_examples = 180

    def given(self, generator, public):
        """Keep it; a rule is tried without."""
        told.append(public)
        return self.aggregate if public is None else lambda messages: public

    def aggregate(self, messages):
        """Return anything of that shape."""
        return messages[..., 0, :]


@pytest.mark.parametrize("unit", ["example", "worker"])
def test_the_servers_gradient_is_of_validation_examples_and_clipped_as_a_workers(unit):
    """At the first parameters, against torch's own gradients of all of them."""
    digits = get_dataset("digits")
    held = digits.validation
    assert len(held) == Told.public_examples
    rate = {"worker_sampling_rate": 0.5} if unit == "worker" else {}
    rule = f"{__name__}:Told"
    train(RunSpec(clip_norm=0.3, unit=unit, steps=1, honest=4, aggregator=rule, seed=3, **rate))
    model, (start,) = initial_parameters("logistic", digits, [3])
    layout = Layout(model)
    losses = torch.nn.functional.cross_entropy

    def loss(flat, example, label):
        named = {name: value[0] for name, value in layout.unflatten(flat.unsqueeze(0)).items()}
        return losses(torch.func.functional_call(model, named, (example.unsqueeze(0),))[0], label)

    each = torch.stack(
        [
            torch.func.grad(loss)(start, example, label)
            for example, label in zip(held.examples(slice(None)), held.labels, strict=True)
        ]
    ).double()
    if unit == "worker":
        each = each.mean(0, keepdim=True)
    clipped = each * (0.3 / each.norm(dim=1, keepdim=True)).clamp(max=1.0)
    torch.testing.assert_close(told[-1][0].double(), clipped.mean(0), rtol=1e-4, atol=1e-6)
    assert each.norm(dim=1).max() > 0.3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"evaluate_on": "validation"}, "evaluate_on: validation .*public examples .*: test$"),
        ({"aggregator": "nnm + fltrust", "evaluate_on": "validation"}, "evaluate_on: validation"),
        ({"byzantine": 1, "attack": "line_search"}, "against: a rule that sees a gradient of the"),
        ({"aggregator": "fltrust(examples=0)"}, "FLTrust.examples: 0 is not a whole number at le"),
        ({"aggregator": "fltrust(examples=9999)"}, "wants 9999 public examples; accepted: 1 to "),
    ],
)
def test_runs_that_are_refused(settings, message):
    with pytest.raises(SpecError, match=message):
        train(RunSpec(**{"aggregator": "fltrust", **RUN, **settings}))
