"""What specs name: every kind registers, finds, lists and refuses alike."""

import re
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module

import numpy as np
import pytest
import torch
from torch import nn

from privrobust import (
    RunSpec,
    accountants,
    aggregators,
    attacks,
    data,
    gradients,
    models,
    noise,
    train,
)
from privrobust import schedules as of_rates
from privrobust.accountants import get_accountant
from privrobust.aggregators import Median, PreAggregator, get_aggregator
from privrobust.aggregators.robust_clipping import StaticClipping
from privrobust.attacks import SignFlip, get_attack
from privrobust.cli.listing import Kind
from privrobust.core.plugins import Own
from privrobust.core.registry import Registry
from privrobust.data import Dataset, get_dataset, get_partition
from privrobust.data.partitions import PARTITIONS, Similarity
from privrobust.errors import SpecError
from privrobust.gradients import get_loss
from privrobust.gradients.losses import Squared
from privrobust.models import Architecture, get_factory
from privrobust.schedules import Schedule, get_schedule, parameter
from privrobust.spec.registries import REGISTRIES


class Normal(noise.NoiseLaw):
    """What accountants do not know to be Gaussian."""

    std = 1.0

    def draw(self, uniform):
        return torch.special.ndtri(uniform)


OWN = {
    "accountant": type(get_accountant("basic")),
    "aggregator": Median,
    "attack": SignFlip,
    "loss": Squared,
    "noise": Normal,
    "partition": Similarity,
    "schedule": of_rates.Cosine,
}


def derived(kind, name):
    """A class of one's own, another at every call, as a notebook's cell makes."""
    return type("Mine", (OWN[kind],), {"__module__": "mine", "name": name})


def dataset(name):
    return Dataset.from_tensors(name, torch.randn(40, 2), torch.arange(40) % 2)


def factory(name):
    return lambda shape, classes: nn.Sequential(nn.Flatten(), nn.Linear(shape.numel(), classes))


def instance(name):
    return derived("accountant", name)()


# By kind: what makes a thing of one's own for a name, what registers it, and what finds it.
KINDS = {
    "accountant": (instance, accountants.register_accountant, get_accountant),
    "aggregator": (None, aggregators.register_aggregator, get_aggregator),
    "attack": (None, attacks.register_attack, get_attack),
    "dataset": (dataset, data.register_dataset, get_dataset),
    "loss": (None, gradients.register_loss, get_loss),
    "model": (factory, models.register_model, get_factory),
    "noise": (None, noise.register_noise_law, noise.get_noise_law),
    "partition": (None, data.register_partition, get_partition),
    "schedule": (None, of_rates.register_schedule, get_schedule),
}
NAMES_ITSELF = ("accountant", "dataset")


def register(kind, name):
    make, enter, _ = KINDS[kind]
    thing = make(name) if make else derived(kind, name)
    enter(thing) if kind in NAMES_ITSELF else enter(name, thing)
    return thing


def stands_for(found, thing):
    return type(found) is thing if isinstance(thing, type) else found is thing


def registry_of(kind):
    return REGISTRIES[kind]


def test_every_kind_is_tried():
    assert sorted(KINDS) == sorted(REGISTRIES)


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_of_ours_is_taken_and_one_of_ones_own_is_not(kind):
    """A notebook's cell that registers is run twice: what it made last is what counts."""
    get = KINDS[kind][2]
    for name in registry_of(kind).built_in:
        before = registry_of(kind)[name]
        with pytest.raises(SpecError) as refused:
            register(kind, name)
        assert str(refused.value) == (
            f"{kind}: the name {name!r} is taken by what is built in; accepted: another"
        )
        assert registry_of(kind)[name] is before
    first, last = register(kind, "mine"), register(kind, "mine")
    assert first is not last
    assert stands_for(get("mine"), last)
    assert "mine" in registry_of(kind).available()


@pytest.mark.parametrize("name", ["all", "auto"])
def test_words_that_mean_several_accountants_are_taken(name):
    with pytest.raises(SpecError, match=f"accountant: the name '{name}' is taken"):
        register("accountant", name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_that_is_nearly_one_gets_advice(kind):
    register(kind, "mine_of_today")
    get = KINDS[kind][2]
    with pytest.raises(SpecError, match=r"did you mean 'mine_of_today'\?") as raised:
        get("mine_of_todau")
    text = str(raised.value)
    assert text.startswith(f"{kind}: unknown name 'mine_of_todau'")
    known = re.search(r"\(known: (.*)\)", text).group(1).split(", ")
    assert known == registry_of(kind).available()


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"accountant"}))
def test_a_spec_and_a_list_know_what_is_registered(kind):
    register(kind, "mine")
    attacked = {"byzantine": 1} if kind == "attack" else {}
    common = {"honest": 6, "steps": 2, "clip_norm": 1.0, "batch_size": 2, **attacked}
    spec = RunSpec(**common, **{kind: "mine"})
    named = spec.attack.name if kind == "attack" else getattr(spec, kind)
    assert named == "mine"
    assert spec.key != RunSpec(**common, attack="zero").key
    assert not train(spec).diverged
    kinds = {"loss": "losses", "noise": "noise_laws"}.get(kind, f"{kind}s")
    entries = getattr(import_module(Kind[kinds]), f"list_{kinds}")()
    assert "mine" in [entry.facts["name"] for entry in entries]


OTHERS = [5, nn.ReLU(), Squared, Median, SignFlip, dict, print]


def is_of(kind, thing):
    base = OWN.get(kind, nn.Module)
    return isinstance(thing, base) or (isinstance(thing, type) and issubclass(thing, base))


@pytest.mark.parametrize(
    ("kind", "thing"),
    [
        (kind, thing)
        for kind in sorted(set(KINDS) - {"accountant", "dataset"})
        for thing in OTHERS
        if not is_of(kind, thing)
    ],
)
def test_what_is_of_another_kind_is_refused(kind, thing):
    with pytest.raises(SpecError, match=f"^{kind}: other is .*; accepted: a ") as raised:
        KINDS[kind][1]("other", thing)
    assert "\n" not in str(raised.value)
    assert "other" not in registry_of(kind)


def test_an_accountants_class_is_no_accountant():
    with pytest.raises(SpecError, match=r"accountant: basic2 is <class .*; accepted: one of"):
        accountants.register_accountant(derived("accountant", "basic2"))


@pytest.mark.parametrize("name", ["a b", "f(x)", "a:b", "", "a+b"])
@pytest.mark.parametrize("kind", sorted(set(OWN) - {"accountant"}))
def test_a_name_that_takes_parameters_reads_as_one(kind, name):
    with pytest.raises(SpecError, match=f"{kind}: .* is not accepted as a name: letters, digits"):
        register(kind, name)


@dataclass(frozen=True)
class Root(Schedule):
    """Falls as a power of the share that is left.

    It is longer than a line.
    """

    paper = "Nobody 1900"
    power: float = parameter(0.5, above=0)

    def factor(self, done):
        return (1 - done) ** self.power


def test_a_registered_class_takes_parameters():
    of_rates.register_schedule("root", Root)
    assert get_schedule("root(power=2)") == Root(2.0)
    assert RunSpec(schedule="root( power = 0.5 )").schedule == "root"
    assert RunSpec(schedule={"name": "root", "power": 2}).schedule == "root(power=2.0)"
    with pytest.raises(SpecError, match=r"Root.power: -1.0 is not a finite number above 0"):
        RunSpec(schedule="root(power=-1)")
    with pytest.raises(SpecError, match=r"root has no parameter 'speed' \(it takes: power\)"):
        RunSpec(schedule="root(speed=1)")
    (entry,) = [each for each in of_rates.list_schedules() if each.facts["name"] == "root"]
    assert entry == (
        "root(power=0.5)\n    Falls as a power of the share that is left.\n    Nobody 1900"
    )


def test_a_partition_of_ones_own_deals():
    class Alternating(data.Partition):
        """Every other example."""

        def split(self, codes, workers, random):
            return [np.arange(worker, len(codes), workers) for worker in range(workers)]

    data.register_partition("alternating", Alternating)
    spec = RunSpec(partition="alternating", honest=3)
    assert spec.dealt_by.deal(torch.zeros(5), 3, seed=0)[1].tolist() == [1, 4]
    with pytest.raises(SpecError, match=r"heterogeneity: 0\.5 with partition alternating"):
        RunSpec(partition="alternating", heterogeneity=0.5)


def test_a_registered_dataset_takes_no_parameters():
    register("dataset", "mine")
    with pytest.raises(SpecError, match=r"dataset: mine has no parameter 'path' \(it takes none\)"):
        RunSpec(dataset="mine(path='x')")


def test_what_comes_before_a_rule_shares_its_names():
    class Before(StaticClipping):
        """Clips too."""

    aggregators.register_aggregator("mine", Before)
    assert "mine" in aggregators.available_pre_aggregators()
    assert issubclass(Before, PreAggregator)
    assert get_aggregator("mine + median").before == (Before(),)
    aggregators.register_aggregator("mine", derived("aggregator", "mine"))
    assert "mine" in aggregators.available_aggregators()
    assert "mine" not in aggregators.available_pre_aggregators()


def test_an_architecture_of_ones_own_takes_parameters():
    @dataclass(frozen=True)
    class Deep(Architecture):
        """So many linear layers."""

        layers: int = models.parameter(2, least=1)

        def __call__(self, shape, classes):
            between = [nn.Linear(shape.numel(), shape.numel()) for _ in range(self.layers - 1)]
            return nn.Sequential(nn.Flatten(), *between, nn.Linear(shape.numel(), classes))

    models.register_model("deep", Deep)
    assert RunSpec(model="deep(layers=3)").model == "deep(layers=3)"
    assert len(get_factory("deep(layers=3)")(torch.Size([4]), 2)) == 4
    assert "deep(layers=2)\n    So many linear layers." in models.list_models()


def test_any_text_names_what_takes_no_parameters():
    for kind in ("dataset", "model"):
        register(kind, "mine, of today (2)")
    spec = RunSpec(
        dataset="mine, of today (2)", model="mine, of today (2)", honest=2, steps=1, batch_size=2
    )
    assert not train(spec).diverged


def test_a_registry_imports_what_own_may_be_only_when_it_must():
    def own():
        raise AssertionError

    registry = Registry("thing", {"ours": Root}, own)
    assert registry.get("ours(power=2)") == Root(2.0)
    assert registry.canonical("ours(power=0.5)") == "ours"
    with pytest.raises(AssertionError):
        registry.get("mine:Thing")


def test_iid_is_a_similarity_and_no_parameter_makes_another_of_it():
    assert PARTITIONS.entry("similarity").facts["parameters"] == [
        {"name": "heterogeneity", "default": 0.0}
    ]
    assert data.get_partition("iid") == Similarity(0.0)
    assert RunSpec(partition="iid").partition == "similarity"
    with pytest.raises(SpecError, match="partition: iid takes no parameters"):
        data.get_partition("iid(heterogeneity=1)")


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("attacks", "Attack parameter register_attack"),
        ("aggregators", "Aggregator PreAggregator parameter register_aggregator"),
        ("data", "Partition parameter register_partition register_dataset"),
        ("gradients", "Loss Use parameter register_loss register_layer_rule"),
        ("models", "Architecture parameter register_model"),
        ("noise", "NoiseLaw parameter register_noise_law"),
        ("schedules", "Schedule parameter register_schedule"),
    ],
)
def test_what_users_derive_from_is_in_one_place(module, names):
    found = import_module(f"privrobust.{module}")
    assert all(hasattr(found, name) for name in names.split())
    assert set(names.split()) <= set(getattr(found, "__all__", names.split()))


def test_naming_a_loss_of_ours_imports_no_torch():
    code = (
        "import sys; from privrobust import RunSpec; from privrobust.gradients import Loss\n"
        "RunSpec(loss='squared'); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_own_is_a_property_of_the_kind():
    assert Registry("thing", {}, Own((Root,), "a Root")).own.accepted == "a Root"


def test_what_is_remembered_of_an_accountant_is_of_the_one_that_is_registered():
    class Constant(type(get_accountant("basic"))):
        name = "constant"

        def __init__(self, value):
            self.value = value

        def epsilon(self, releases, delta):
            return self.value

    spec = RunSpec(clip_norm=1.0, noise_scale=0.1, steps=2)
    for value in (1.0, 2.0):
        accountants.register_accountant(Constant(value))
        assert train(spec.model_copy(update={"accountant": "constant"})).epsilon == value


def test_a_rule_that_is_registered_again_is_asked_again_for_how_many_workers_it_is():
    class OfAny(Median):
        """Takes any number."""

    class OfNone(Median):
        """Takes none."""

        def fits(self, workers, byzantine):
            raise SpecError("aggregator: takes no workers")

    aggregators.register_aggregator("mine", OfAny)
    RunSpec(aggregator="mine")
    aggregators.register_aggregator("mine", OfNone)
    with pytest.raises(SpecError, match="takes no workers"):
        RunSpec(aggregator="mine")


def test_a_loss_that_is_refused_leaves_the_one_before():
    class Wrong(Squared):
        """Its errors are no gradient."""

        def values(self, scores, labels):
            return Squared().values(scores, labels)

        def errors(self, scores, labels):
            return 3 * super().errors(scores, labels)

    gradients.register_loss("mine", Squared)
    with pytest.raises(SpecError, match="not the gradient"):
        gradients.register_loss("mine", Wrong)
    assert type(get_loss("mine")) is Squared


@pytest.mark.parametrize("kind", NAMES_ITSELF)
def test_what_has_no_name_is_refused(kind):
    with pytest.raises(SpecError, match=f"^{kind}: "):
        KINDS[kind][1]("x")


@pytest.mark.parametrize("kind", sorted(set(KINDS) - set(NAMES_ITSELF)))
def test_an_empty_name_is_refused(kind):
    make, enter, _ = KINDS[kind]
    with pytest.raises(SpecError, match="as a name"):
        enter(" ", make("x") if make else derived(kind, "x"))
