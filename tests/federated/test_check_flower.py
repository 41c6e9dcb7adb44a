"""What is read of Flower apps: their configuration and their source, which is never run."""

import inspect
import math
import textwrap
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
from flwr.clientapp.mod import LocalDpMod
from flwr.serverapp import strategy as strategies
from flwr.supercore import differential_privacy as of_flower

from privrobust.accountants import Release, epsilon
from privrobust.errors import SpecError
from privrobust.federated.check import flower_app
from privrobust.federated.check.claims import CentralNoise, LocalNoise, SampleNoise, Unread
from privrobust.federated.check.flower_app import read_flower_app
from privrobust.federated.check.reading import check

PROJECT = """
[project]
name = "app"
version = "1.0.0"

[tool.flwr.app]
publisher = "somebody"

[tool.flwr.app.components]
serverapp = "app.server_app:app"
clientapp = "app.client_app:app"

[tool.flwr.app.config]
"""
SERVER = """
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg
app = ServerApp()
@app.main()
def main(grid, context):
    strategy = FedAvg()
    strategy.start(grid=grid, initial_arrays=None, num_rounds=context.run_config["num-rounds"])
"""
CLIENT = """
from flwr.clientapp import ClientApp
app = ClientApp()
"""
LOCAL = """
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import LocalDpMod
CLIP = 2 / 4
noisy = LocalDpMod(CLIP, sensitivity=CLIP, epsilon=1.0, delta=10**-5)
app = ClientApp(mods=[noisy])
"""
WRAPPED = """
from flwr.common import Context
from flwr.serverapp import ServerApp
from flwr.serverapp import strategy as s
app = ServerApp()

@app.main()
def main(grid, context: Context):
    config = context.run_config
    strategy = s.FedMedian(fraction_train=0.5)
    strategy = s.DifferentialPrivacyServerSideFixedClipping(
        strategy,
        noise_multiplier=float(config["noise"]),
        clipping_norm=config.get("clip", 0.3),
        num_sampled_clients=config["m"],
    )
    strategy.start(grid=grid, initial_arrays=None, num_rounds=7)
"""


@pytest.fixture
def app(tmp_path):
    """Writes an app, and returns its folder."""

    def make(server=SERVER, client=CLIENT, config="num-rounds = 100", **more):
        (tmp_path / "app").mkdir(exist_ok=True)
        (tmp_path / "pyproject.toml").write_text(PROJECT + config)
        for name, text in {"server_app": server, "client_app": client, **more}.items():
            (tmp_path / "app" / f"{name}.py").write_text(textwrap.dedent(text))
        return tmp_path

    return make


def one(folder, changes=()):
    """The one claim of an app."""
    (claim,) = read_flower_app(folder, changes).claims
    return claim


def test_a_mod_with_literals_names_and_arithmetic(app):
    claim = one(app(client=LOCAL))
    assert claim == LocalNoise(
        where="app/client_app.py, line 5",
        what="LocalDpMod",
        clipping_norm=0.5,
        sensitivity=0.5,
        epsilon=1.0,
        delta=1e-5,
        rounds=100,
    )


def test_the_mod_of_the_page(app):
    checked = check(app(client=LOCAL))
    assert [round(found.holds, 1) for found in checked.findings] == [10.4, 25.4]
    assert {found.verdict for found in checked.findings} == {"does not hold"}


def test_a_wrapper_by_keys_of_the_configuration(app):
    folder = app(server=WRAPPED, config="noise = 1.5\nm = 10\nnum-supernodes = 20\ndelta = 1e-6")
    claim = one(folder)
    assert isinstance(claim, CentralNoise)
    assert (claim.what, claim.rule) == ("DifferentialPrivacyServerSideFixedClipping", "FedMedian")
    assert (claim.noise_multiplier, claim.num_sampled_clients, claim.rounds) == (1.5, 10, 7)
    assert (claim.clients, claim.fraction, claim.least_clients) == (20, 0.5, 2)
    assert claim.delta == 1e-6
    changed = one(folder / "pyproject.toml", ["noise=2", "rounds=9", "clients=30", "delta=1e-7"])
    assert (changed.noise_multiplier, changed.rounds) == (2.0, 9)
    assert (changed.clients, changed.delta) == (30, 1e-7)


@pytest.mark.parametrize(
    ("name", "key"), [("delta", "target-delta"), ("delta", "Target_Delta"), ("epsilon", "epsilon")]
)
def test_numbers_go_by_many_names(app, name, key):
    value = {"delta": 1e-6, "epsilon": 3.0}[name]
    folder = app(server=WRAPPED, config=f"noise = 1.5\nm = 10\n{key} = {value}")
    assert getattr(one(folder), name) == value


def test_numbers_of_tables_in_tables_and_of_the_federation(app):
    folder = app(
        server=WRAPPED.replace('"noise"', '"dp.of.noise"'),
        config="m = 10\n[tool.flwr.app.config.dp.of]\nnoise = 1.25\n"
        "[tool.flwr.federations]\ndefault = 'here'\n"
        "[tool.flwr.federations.here.options]\nnum-supernodes = 30\n",
    )
    claim = one(folder)
    assert (claim.noise_multiplier, claim.clients) == (1.25, 30)


def test_names_that_disagree_are_refused_until_one_is_chosen(app):
    folder = app(server=WRAPPED, config="noise = 1.5\nm = 10\ndelta = 1e-6\ntarget-delta = 1e-5")
    with pytest.raises(SpecError, match=r"delta = 1e-06 and target-delta = 1e-05 disagree"):
        one(folder)
    assert one(folder, ["delta=1e-5"]).delta == 1e-5


@pytest.mark.parametrize(
    "source",
    [
        "def main(noise): return W(S(), noise, 1.0, 10)",
        "import random\nnoise = random.random()\nx = W(S(), noise, 1.0, 10)",
        "noise = 1.0\nif __debug__:\n    noise = 2.0\nx = W(S(), noise, 1.0, 10)",
        "def main():\n    for noise in (1.0, 2.0):\n        W(S(), noise, 1.0, 10)",
        "def main():\n    noise = 1.0\n    noise += 1\n    return W(S(), noise, 1.0, 10)",
        "def main(x):\n if x:\n  noise = 1.0\n else:\n  return W(S(), noise, 1.0, 10)",
        "noise = 1.0\nwhile True:\n    x = W(S(), noise, 1.0, 10)\n    noise = 2.0",
        "def main(**rest): return W(S(), **rest)",
        "def main(rest): return W(*rest)",
        "noise = noise\nx = W(S(), noise, 1.0, 10)",
        "noise = 9**9**9**9\nx = W(S(), noise, 1.0, 10)",
    ],
)
def test_a_value_that_turns_on_what_runs_is_asked(app, source):
    wrapper = "DifferentialPrivacyServerSideFixedClipping"
    head = f"from flwr.serverapp.strategy import {wrapper} as W, FedAvg as S\n"
    (folder,) = [app(server=head + source)]
    assert one(folder).noise_multiplier is None
    assert "noise_multiplier" in check(folder).findings[0].missing
    assert one(folder, ["noise_multiplier=3"]).noise_multiplier == 3.0


def test_the_assignment_before_counts_and_none_after_it(app):
    source = """
    from flwr.serverapp.strategy import (
        DifferentialPrivacyClientSideFixedClipping as W, FedAvg as S
    )
    def main():
        noise = 1.0
        noise = 2.0
        first = W(
            S(), noise, 1.0, 10)
        noise = 3.0
        return first
    """
    assert one(app(server=source)).noise_multiplier == 2.0


@pytest.mark.parametrize(
    "source",
    [
        "def main(x):\n if x:\n  noise = 2.0\n  return W(S(), noise, 1.0, 10)",
        "while True:\n    noise = 2.0\n    x = W(S(), noise, 1.0, 10)\n    noise = 3.0",
        "if True:\n    noise = 1.0\nnoise = 2.0\nx = W(S(), noise, 1.0, 10)",
        "noise = 2.0\ndef main():\n    return W(S(), noise, 1.0, 10)",
    ],
)
def test_what_is_passed_on_every_way_is_known(app, source):
    wrapper = "DifferentialPrivacyServerSideFixedClipping"
    head = f"from flwr.serverapp.strategy import {wrapper} as W, FedAvg as S\n"
    assert one(app(server=head + source)).noise_multiplier == 2.0


def test_values_of_other_modules_of_the_app(app):
    server = """
    from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping, FedAvg
    from app.numbers import NOISE
    from .more.deep import M
    W = DifferentialPrivacyServerSideFixedClipping(FedAvg(), NOISE, 1.0, M)
    """
    folder = app(server=server, numbers="NOISE = 1.25")
    (folder / "app" / "more").mkdir()
    (folder / "app" / "more" / "deep.py").write_text("from ..numbers import NOISE as M")
    claim = one(folder)
    assert claim.noise_multiplier == 1.25
    assert claim.num_sampled_clients is None  # a name that is handed on twice is a question


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("class Own(FedMedian): pass", "FedMedian"),
        ("class Own(FedMedian):\n    def aggregate_train(self, *given): ...", None),
        ("def Own(): ...", None),
        ("from elsewhere import Own", None),
    ],
)
def test_a_strategy_of_ones_own_is_what_it_derives_from(app, source, rule):
    head = (
        "from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping as W\n"
        "from flwr.serverapp.strategy import FedMedian\n"
    )
    claim = one(app(server=f"{head}{source}\nx = W(Own(), 1.0, 1.0, 10)"))
    assert claim.rule == rule


@pytest.mark.parametrize(
    ("client", "clips", "summed"),
    [
        ("app = ClientApp(mods=[fixedclipping_mod])", True, False),
        ("app = ClientApp(mods=[secaggplus_mod, fixedclipping_mod])", True, None),
        ("app = ClientApp()", False, False),
        ("app = ClientApp(mods=[own])", None, False),
        ("app = ClientApp(mods=made())", None, False),
        ("@app.train(mods=[fixedclipping_mod])\ndef train(message, context): ...", True, False),
    ],
)
def test_who_clips_and_who_sums(app, client, clips, summed):
    head = "from flwr.client.mod import fixedclipping_mod, secaggplus_mod\n"
    claim = one(app(server=WRAPPED.replace("ServerSide", "ClientSide"), client=head + client))
    assert (claim.clips_at, claim.is_clipped) == ("client", clips)
    assert claim.secure_aggregation is summed


@pytest.mark.parametrize(
    ("mods", "is_used"),
    [("[]", False), ("[noisy]", True), ("[by]", True), ("[near]", None), ("made()", None)],
)
def test_a_mod_that_no_client_has_hides_nothing(app, mods, is_used):
    own = (
        "def by(message, context, call_next): return LocalDpMod(1., 1., 1., .1)(message)\n"
        "def near(message, context, call_next): ...\n"
    )
    client = LOCAL.replace("app = ClientApp(mods=[noisy])", f"{own}app = ClientApp(mods={mods})")
    folder = app(client=client, config="num-rounds = 1")
    claim = read_flower_app(folder).claims[0]
    assert claim.is_used is is_used
    found = check(folder, ["delta=1e-5", "sensitivity=0.5", "clipping_norm=0.5"]).findings[0]
    verdicts = {False: "does not hold", True: "holds", None: "cannot be told"}
    assert found.verdict == verdicts[is_used]
    assert ("clips" in found.missing) is (is_used is None)
    assert check(folder, ["clips=true"]).findings[0].verdict == "holds"


@pytest.mark.parametrize(
    ("text", "rounds"),
    [
        ("strategy.start(grid, None)", 3),
        ("strategy.start(grid, None, 5)", 5),
        ("strategy.start(grid=grid, initial_arrays=None, num_rounds=6)", 6),
        ("ServerConfig(num_rounds=4)", 4),
        ("ServerConfig()", 1),
        ("thread.start()", 100),
        ("strategy.start(grid, None, unknown())", None),
    ],
)
def test_rounds_are_what_the_source_says_or_the_configuration(app, text, rounds):
    server = f"from flwr.server import ServerConfig\n{text}"
    assert one(app(server=server, client=LOCAL)).rounds == rounds


def test_an_accountant_of_flowers(app):
    server = """
    from flwr.serverapp import PrivacyConfig, SamplingMethod, RdpAccountant
    from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping, FedAvg
    config = PrivacyConfig(
        target_delta=1e-6, population_size=40, neighboring_relation=None,
        sampling_method=SamplingMethod.NO_AMPLIFICATION, max_epsilon=8.0,
    )
    W = DifferentialPrivacyServerSideFixedClipping(
        FedAvg(), 10.0, 1.0, 20, accountant=RdpAccountant(config)
    )
    """
    claim = one(app(server=server))
    assert (claim.epsilon, claim.delta, claim.clients) == (8.0, 1e-6, 40)
    assert (claim.accounting.sampling, claim.accounting.is_of_wrapper) == ("no-amplification", True)
    stops = check(app(server=server), ["rounds=1000"]).findings[0]
    assert (stops.verdict, stops.holds) == ("holds", 8.0)
    assert check(app(server=server), ["rounds=10"]).findings[0].holds < 8.0
    poisson = check(app(server=server.replace("NO_AMPLIFICATION", "POISSON")))
    assert "fixed number of clients" in poisson.findings[0].why


def test_adaptive_clipping_has_flowers_defaults(app):
    server = """
    from flwr.serverapp.strategy import DifferentialPrivacyServerSideAdaptiveClipping, FedAvg
    W = DifferentialPrivacyServerSideAdaptiveClipping(FedAvg(), 0.8, 40, clip_norm_lr=0.1)
    """
    adaptive = one(app(server=server)).adaptive
    assert (adaptive.count_noise, adaptive.quantile, adaptive.rate) == (2.0, 0.5, 0.1)
    count, noise = of_flower.compute_adaptive_noise_params(0.8, 40, None)
    assert (count, noise) == (2.0, pytest.approx((0.8**-2 - 4.0**-2) ** -0.5))


def test_our_own_mod(app):
    client = """
    from flwr.clientapp import ClientApp
    from privrobust.federated.flower import UpdatePrivacy, private_updates
    privacy = UpdatePrivacy(clip_norm=0.5, noise_scale=2.0)
    app = ClientApp(mods=[private_updates(privacy)])
    """
    (found,) = check(app(client=client, config="num-rounds = 10")).findings
    release = Release(noise_scale=2.0, clip_norm=0.5, unit="worker", steps=10)
    assert found.holds == found.claimed == epsilon(release)
    assert (found.verdict, found.against) == ("holds", "server, clients, outsiders")
    unused = client.replace("mods=[private_updates(privacy)]", "mods=[]")
    unused = unused.replace("    app =", "    mod = private_updates(privacy)\n    app =")
    assert check(app(client=unused)).findings[0].holds == math.inf
    unstated = client.replace("2.0", "found()")
    assert check(app(client=unstated)).findings[0].missing == ("noise_scale",)
    sampled = client.replace("2.0", "2.0, participation=0.1, noise='laplace'")
    (found,) = check(app(client=sampled, config="num-rounds = 10")).findings
    assert found.holds < epsilon(replace(release, noise="laplace", norm="l1"))


def test_our_own_worker(app):
    client = """
    from flwr.clientapp import ClientApp
    from privrobust.federated.flower import PrivateWorker, private_gradient
    app = ClientApp()
    @app.train()
    def train(message, context):
        worker = PrivateWorker(
            1, 2, clip_norm=1.0, noise_scale=0.1, batch_size=32, sampling_rate=0.1)
        return private_gradient(message, 1, worker, local_steps=context.run_config["k"])
    """
    (found,) = check(app(client=client, config="num-rounds = 10\nk = 5")).findings
    release = Release(noise_scale=0.1, clip_norm=1.0, batch_size=32, sampling_rate=0.1, steps=50)
    assert found.holds == epsilon(release)
    assert (found.verdict, found.unit, found.adjacency) == ("holds", "example", "add-or-remove")
    by_size = app(client=client.replace(", sampling_rate=0.1", ""), config="num-rounds = 10\nk = 5")
    assert check(by_size).findings[0].missing == ("dataset_size",)
    (found,) = check(by_size, ["dataset_size=320"]).findings
    sized = replace(release, sampling_rate=None, dataset_size=320)
    assert found.holds == epsilon(sized)
    hidden = app(client=client.replace("clip_norm=1.0", "**settings()"))
    assert check(hidden).findings[0].verdict == "cannot be told"


def test_opacus_in_a_client(app):
    client = """
    from flwr.clientapp import ClientApp
    from opacus import PrivacyEngine
    app = ClientApp()
    @app.train()
    def train(message, context):
        engine = PrivacyEngine()
        engine.make_private(module=1, noise_multiplier=1.1, max_grad_norm=1.0)
    """
    config = "num-rounds = 3\nlocal-epochs = 2\nbatch-size = 32\ntarget-delta = 1e-5"
    claim = one(app(client=client, config=config))
    assert isinstance(claim, SampleNoise)
    assert (claim.noise_multiplier, claim.epochs, claim.batch_size) == (1.1, 2, 32)
    assert (claim.rounds, claim.delta, claim.lasts) == (3, 1e-5, False)
    assert check(app(client=client, config=config)).findings[0].missing == ("dataset_size",)


def test_numbers_that_nothing_takes_are_a_question(app):
    claim = one(app(config="num-rounds = 3\nnoise-multiplier = 1.0"))
    assert isinstance(claim, Unread)
    assert check(app(config="noise-multiplier = 1.0")).findings[0].verdict == "cannot be told"
    assert read_flower_app(app(config="rounds = 3")).claims == ()


def test_classes_of_the_same_name_from_elsewhere_are_not_flowers(app):
    assert read_flower_app(app(client=LOCAL.replace("flwr.clientapp.mod", "mine"))).claims == ()


def test_source_is_not_run(app, tmp_path):
    mark = tmp_path / "was_run"
    folder = app(client=f"open({str(mark)!r}, 'w')\nraise SystemExit(9)\n{LOCAL}")
    one(folder)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ("noise = nan", "noise_multiplier: nan is not a finite number"),
        ("noise = -1", "noise_multiplier: -1 is not a finite number"),
        ("noise = inf", "noise_multiplier: inf is not"),
        ("noise = 'much'", "noise_multiplier: 'much' is not"),
        ("noise = true", "noise_multiplier: true is not"),
        ("noise = 1\nm = 0.5", "num_sampled_clients: 0.5 is not a whole number"),
        ("noise = 1\ndelta = 1.0", "delta, delta: 1.0 is not between 0 and 1"),
        ("noise = []", "noise: [] is not accepted"),
        ("noise = 2020-01-01", "noise: datetime.date(2020, 1, 1) is not accepted"),
        ("noise == 1", "not valid TOML"),
        ("a = " + "[" * 5000, "not valid TOML"),
    ],
)
def test_a_configuration_that_cannot_be_is_one_clear_line(app, config, field):
    folder = app(server=WRAPPED.replace("float(config", "(config"), config=config)
    with pytest.raises(SpecError) as raised:
        read_flower_app(folder)
    assert field in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("[tool.flwr.", "[tool.other.", "no [tool.flwr.app]"),
        ('serverapp = "app.server_app:app"', "", "serverapp is missing"),
        ('serverapp = "app.server_app:app"', "serverapp = 3", "serverapp is 3"),
        ('"app.server_app:app"', '"../secret:app"', "serverapp is '../secret:app'"),
        ('"app.server_app:app"', '"app.nowhere:app"', "app.nowhere is not there"),
    ],
)
def test_what_is_no_app_is_one_clear_line(app, old, new, field):
    folder = app(server=WRAPPED, config="noise = 1")
    project = folder / "pyproject.toml"
    project.write_text(project.read_text().replace(old, new))
    with pytest.raises(SpecError) as raised:
        read_flower_app(folder)
    assert field in str(raised.value)


@pytest.mark.parametrize(
    "source", ["def f(:", "x = " + "(" * 5000, "x = 1\0", "#" * 1_000_001, "x = " + "-" * 90_000]
)
def test_source_that_cannot_be_read_is_one_clear_line(app, source):
    with pytest.raises(SpecError, match=r"client_app\.py.*(not valid Python|larger than)"):
        read_flower_app(app(client=source))


def test_source_outside_of_the_app_is_refused(app, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "secret.py"
    elsewhere.write_text(LOCAL)
    folder = app()
    (folder / "app" / "client_app.py").unlink()
    (folder / "app" / "client_app.py").symlink_to(elsewhere)
    with pytest.raises(SpecError, match="leads outside of the app"):
        read_flower_app(folder)


def test_names_of_names_end(app):
    """Each of 60 names is twice the one before: 2^60 values, if none is kept."""
    lines = [f"x{i} = x{i - 1} + x{i - 1}" for i in range(1, 60)]
    source = LOCAL.replace("CLIP = 2 / 4", "\n".join(["x0 = 1.0", *lines, "CLIP = x59"]))
    assert one(app(client=source)).clipping_norm in (2.0**59, None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("nois=1", "did you mean 'noise'"),
        ("noise", "give name=value"),
        ("delta=", "give name=value"),
        ("delta=[1", "not valid YAML"),
        ("delta=2", "--set delta: 2 is not between 0 and 1"),
        ("clips=maybe", "clips: 'maybe' is not true or false"),
    ],
)
def test_answers_that_cannot_be(app, change, message):
    with pytest.raises(SpecError) as raised:
        read_flower_app(app(server=WRAPPED, config="noise = 1"), [change])
    assert message in str(raised.value)


def parameters(of):
    return tuple(inspect.signature(of).parameters)


def test_arguments_are_called_what_flower_calls_them():
    assert parameters(LocalDpMod) == flower_app._LOCAL
    for name in flower_app._WRAPPERS:
        known = flower_app._ADAPTIVE if "Adaptive" in name else flower_app._FIXED
        assert parameters(getattr(strategies, name))[: len(known)] == known
    for rule in ("FedAvg", "FedMedian", "FedTrimmedAvg", "Krum", "MultiKrum"):
        assert parameters(getattr(strategies, rule))[:3] == flower_app._STRATEGY
    assert parameters(strategies.FedAvg.start)[1:4] == flower_app._START


def test_what_notes_say_of_flower_is_so():
    update = [np.array([np.nan, 50.0])]
    of_flower.clip_inputs_inplace(update, 1.0)
    assert update[0][1] == 50.0  # a NaN goes through, and takes the rest with it
    with pytest.raises(ZeroDivisionError):
        of_flower.clip_inputs_inplace([np.zeros(2)], 1.0)
    counts = [np.zeros(1000, dtype=np.int64)]
    of_flower.add_gaussian_noise_inplace(counts, 0.1)
    assert not counts[0].any()
    noises = []
    for _ in range(2):
        np.random.seed(3)
        noises.append([np.zeros(3)])
        of_flower.add_gaussian_noise_inplace(noises[-1], 1.0)
    assert np.array_equal(*chain(*noises))


def test_the_wrappers_noise_is_what_is_claimed():
    assert of_flower.compute_stdv(1.5, 2.0, 10) == 1.5 * 2.0 / 10
