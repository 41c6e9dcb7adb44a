"""Every benchmark runs, at toy size, and its tables say what they are to say; never how fast."""

import math
import os
import pickle
import re
from contextlib import nullcontext
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import accounting
import byzpy_calls
import conditions
import elsewhere
import engine
import kernels
import lanes
import library
import literal_neighbours
import noise
import peers
import pytest
import report
import sampling
import signs
import startup
import steps
import stores
import sweeps
import tightness
import timing
import torch
from tasks import MODELS, Task, images, register
from torch import nn
from torch.utils.data import TensorDataset

from privrobust import RunSpec
from privrobust.attacks import ALIE
from privrobust.data import get_dataset
from privrobust.sweeps.executors import InProcess
from privrobust.sweeps.executors.base import Outcome

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:opacus", "ignore:Full backward hook")

TOY = Task(honest=4, byzantine=1, batch=2, examples=8)
HERE = [conditions.Condition(1)]


class Here:
    """Takes the steps of peers in this process, as importing them in another takes seconds."""

    def seconds(self, count, make, *arguments):
        make, arguments = pickle.loads(pickle.dumps((make, arguments)))
        return elsewhere.take(count, make, *arguments)


def here():
    return nullcontext(Here())


def tables(markdown):
    """Cells of every table, headers apart: `[(header, rows), ...]`."""
    found = []
    for block in re.findall(r"(?m)(?:^\|.*\n?)+", markdown):
        header, marks, *rows = (
            [cell.strip() for cell in line[1:-1].split("|")] for line in block.splitlines()
        )
        assert marks == ["---"] * len(header)
        assert all(len(row) == len(header) for row in rows)
        found.append((header, rows))
    return found


def number(cell):
    """Read the first of a cell, 1,000 being one thousand."""
    return float(re.match(r"-?[\d,]+(\.\d+)?", cell)[0].replace(",", ""))


def is_ratio(cell):
    """Of medians, with the middle half of the rounds; a small one is 0.00."""
    middle, low, high = map(float, re.match(r"(\S+) \((\S+) to (\S+)\)", cell).groups())
    return middle >= 0 and 0 <= low <= high and math.isfinite(high)


def is_of_byzpy(cell):
    return is_ratio(cell) if find_spec("byzpy") else cell == "not installed"


def test_cases_are_timed_in_turns_after_a_round_to_warm_up():
    called = []
    cases = {name: lambda name=name: called.append(name) for name in "ab"}
    times = timing.in_turns(cases, rounds=3)
    assert called == list("abababab")
    assert {name: len(taken) for name, taken in times.items()} == {"a": 3, "b": 3}


def test_times_are_put_into_words():
    assert timing.ratio([2.0, 4.0, 6.0], [1.0, 1.0, 2.0]) == "4.00 (2.50 to 3.50)"
    assert timing.ratio([3.0], [2.0]) == "1.50 (1.50 to 1.50)"
    assert timing.step_time([0.0, 1.0, 3.0, 4.0, 99.0]) == 1.0
    assert timing.table(["a", "b"], [["1", ""]]) == "| a | b |\n| --- | --- |\n| 1 |  |"


def test_tasks_have_the_sizes_that_the_tables_name():
    counts = {
        name: sum(value.numel() for value in model().parameters()) for name, model in MODELS.items()
    }
    assert counts == {"mlp": 79_510, "cnn": 431_080}
    assert steps.Case("").parameters == counts["mlp"]
    assert steps.Case("", hidden=None).parameters == counts["cnn"]
    register(TOY)
    assert get_dataset("images").train.inputs.shape == (4 * 8, 1, 28, 28)


def test_the_pipeline_of_peers_trains_as_ours_is_asked_to():
    data, model = images(8), MODELS["mlp"]()
    received = []

    def aggregate(messages):
        received.append(messages)
        return messages.mean(0)

    workers = [
        peers.OpacusWorker(MODELS["mlp"](), TensorDataset(data.inputs, data.labels), 4, 1.0, 0.1)
        for _ in range(4)
    ]
    start = nn.utils.parameters_to_vector(model.parameters()).detach()
    step = peers.pipeline(workers, start, peers.byzfl_attack("sign_flip"), 2, aggregate, 0.1)
    step()
    step()
    (honest, sent), _ = (messages.split([4, 2]) for messages in received)
    assert len(received) == 2
    assert not torch.equal(*received)
    torch.testing.assert_close(sent, -honest.mean(0).expand(2, -1))


def test_peers_have_a_process_of_their_own_with_as_many_threads(tmp_path, threads):
    threads(2)
    told = "import os, torch; print(os.getpid(), torch.get_num_threads(), end=';', file=file)"
    step = f"with open({str(tmp_path / 'steps')!r}, 'a') as file: exec({told!r})"
    with elsewhere.Elsewhere() as process:
        assert process.seconds(2, partial, exec, step) >= 0
        assert process.seconds(1, partial, exec, step) >= 0
    first, *others = (tmp_path / "steps").read_text().strip(";").split(";")
    assert first.split()[0] != str(os.getpid())
    assert first.split()[1] == "2"
    assert others == [first, first]


def test_everything_is_measured_under_each_condition(threads):
    threads(3)
    found = []

    def measure():
        computing = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
        found.append((torch.get_num_threads(), {*computing}))
        return "| measured |"

    alone, beside = conditions.Condition(2), conditions.Condition(1, busy=True)
    measured = conditions.under_each([alone, beside, alone], measure)
    assert [count for count, _ in found] == [2, 1, 2]
    before, within, after = (processes for _, processes in found)  # those of other tests may end
    assert len(within - before) == conditions.CORES
    assert not after - before
    assert torch.get_num_threads() == 3
    assert re.findall("(?m)^On (.*):$", measured) == list(map(str, (alone, beside, alone)))
    assert str(beside) == "1 thread, beside a busy process on each core"


def test_accounting():
    own = {"noise_scale": [0.1, 1.0], "dataset_size": [95], "steps": 3}
    grid = own | {"delta": [1e-5]}
    ((header, rows),) = tables(accounting.report(own, grid, opacus_rows=2, pld_rows=1))
    assert header == ["work", "ours", "the library", "ratio"]
    assert [row[0] for row in rows] == [
        "2 settings, rdp, every row its own",
        "2 settings, rdp, grid",
        "2 settings, pld, every row its own",
        "2 settings, pld, grid",
        "b for epsilon = 8, pld",
        "b for epsilon = 8, rdp",
    ]
    assert all(number(row[1]) >= 0 for row in rows)
    assert [bool(row[3]) for row in rows] == [True, False] * 2 + [False] * 2
    assert all(number(cell) >= 0 for row in rows[:4:2] for cell in row[2:])


def test_engine():
    size = engine.Size(["mlp"], TOY, steps=3, peer_steps=1, coordinates=100, most_rounds=1)
    ((_, rows),) = tables(engine.report(size, here, HERE))
    assert [row[:2] for row in rows] == [
        [what, against]
        for what, peers in {
            "training step, MLP, 4 honest + 1 ALIE, B = 2, C = 1, median": [
                "an opacus PrivacyEngine a worker + ByzFL",
                "ByzFL's own step, without privacy",
            ],
            "clipped gradients of 5 workers x 2, MLP": [
                "the plain forward and backward pass of the same examples"
            ],
            "median of 5 x 100": ["torch.median", "ByzFL", "ByzPy", "a clone of the input"],
        }.items()
        for against in peers
    ]
    for _, against, ours, theirs, ratio, _ in rows:
        assert number(ours) >= 0
        if against == "ByzPy" and not find_spec("byzpy"):
            assert (theirs, ratio) == ("not installed", "")
        else:
            assert number(theirs) >= 0
            assert is_ratio(ratio)


@pytest.mark.parametrize("model", MODELS)
def test_peers_train_every_model(model):
    assert set(engine.PLANS) == set(MODELS)
    engine.opacus_step(model, TOY)()
    engine.byzfl_alone_step(engine.PLANS[model].peer, TOY)()


def test_kernels():
    selections, large, rules = tables(kernels.report(worker_counts=(3, 4), dim=50, large=60))
    ways = ["kernel", "network of torch", "quickselect", "torch.median", "compiling"]
    assert selections[0] == ["median, workers x 50", *ways]
    assert [row[0] for row in selections[1]] == ["3", "4"]
    assert [row[0] for row in large[1]] == ["3"]
    assert rules[0] == ["3 x 50", "kernel", "torch", "a sum reads it in"]
    of_all = [*selections[1], *large[1], *rules[1]]
    assert all(number(cell) >= 0 for row in of_all for cell in row[1:])


def test_noise():
    (_, rows), (_, parts) = tables(noise.report(dim=51, rounds=2))
    laws, numbers = ("gaussian", "laplace", "logistic"), ("1 thread", "2 threads")
    assert [row[0] for row in rows] == [f"{law}, {count}" for count in numbers for law in laws]
    assert all(number(cell) >= 0 for row in rows for cell in row[1:-1])
    assert all(is_ratio(row[-1]) for row in rows)
    assert all(row[0].startswith(name) for row, name in zip(parts, noise.LIMITS, strict=False))


def test_ways_that_are_compared_add_noise_of_the_same_scale():
    ways = noise.Noisy(20_000)
    for law, deviation in (("gaussian", 1.0), ("laplace", 2**0.5)):
        for way in (ways.ours, ways.torch_s):
            way(law)()
            drawn = ways.sent - ways.in_float32
            assert float(drawn.std()) == pytest.approx(noise.B * deviation, rel=0.02)


def test_lanes():
    ((_, rows),) = tables(lanes.report(counts=[1], steps=2, rounds=1, conditions=HERE))
    assert [row[0] for row in rows] == ["15 workers, alone", "1 lanes"]
    assert all(number(row[1]) >= 0 for row in rows)
    assert number(rows[1][2]) == 1


def test_library():
    rules, attacks = tables(library.report(shapes=[(9, 10)], rounds=1, conditions=HERE))
    assert len(rules[1]) == 16
    assert len(attacks[1]) == 17
    for name, shape, ours, byzfl, byzpy in rules[1] + attacks[1]:
        assert shape == "9 x 10"
        assert number(ours) >= 0
        assert byzfl == "" or is_ratio(byzfl), name
        assert byzpy == "" or is_of_byzpy(byzpy), name
    assert all(byzfl for *_, byzfl, _ in rules[1])
    assert [row[0] for row in rules[1] if not row[-1]] == ["mean"]
    assert sum(bool(byzfl) for *_, byzfl, _ in attacks[1]) == 7


def test_cells_say_that_byzpy_is_not_installed(monkeypatch):
    monkeypatch.setattr(byzpy_calls, "find_spec", lambda name: None)
    made = byzpy_calls.byzpy_call(lambda rule: rule, "aggregators.coordinate_wise.MeanOfMedians")
    assert made == "not installed"


def test_literal_neighbours():
    settings = [(32, 32, 20.0, 10)]
    ((header, rows),) = tables(literal_neighbours.report(settings, resolution=0.01))
    assert header == literal_neighbours.HEADER
    ((*setting, claimed, literal),) = rows
    assert setting == ["32", "32", "20", "10"]
    assert 0 < number(claimed) < number(literal)


@pytest.mark.parametrize("epochs", [1, 4])
def test_sampling(epochs):
    """The best that is known of shuffled batches lies between what is shown of them."""
    ((header, rows),) = tables(sampling.report([(10, 0.8, epochs)], resolution=0.01))
    assert header == sampling.HEADER
    ((*setting, poisson, least, shuffled, bins, fixed),) = rows
    assert setting == ["10", "0.8", str(epochs)]
    assert number(poisson) < number(least) < number(shuffled)
    assert number(bins) < number(shuffled)
    assert number(poisson) < number(fixed)


def test_signs(tmp_path):
    ((header, rows),) = tables(signs.report([(1.0, 1.0, 3)]))
    assert header == list(signs.HEADER)
    ((*setting, least, most, vector),) = rows
    assert setting == ["1", "1", "3"]
    assert 0 < number(least) < number(most)
    assert number(least) < number(vector)
    signs.draw(str(tmp_path / "signs.svg"), multipliers=(3.0, 8.0))
    assert "at least" in (tmp_path / "signs.svg").read_text()


PARTS = [
    "sample",
    "clip",
    "of it, gather",
    "of it, forward and backward",
    "of it, norms",
    "noise",
    "attack",
    "aggregate",
    "update and the rest",
]


def test_steps():
    case = steps.Case("workers", workers=5, hidden=2)
    size = steps.Size(["mlp"], TOY, steps=4, every=2, cases=[case])
    parts, growth = tables(steps.report(size, HERE))
    assert [row[0] for row in parts[1]] == [*PARTS, "beside it, every 2 steps: measures"]
    measured = {row[0]: number(row[1]) for row in parts[1]}
    del measured["update and the rest"]  # a difference of medians
    assert min(measured.values()) >= 0
    ((*case, step, each, memory),) = growth[1]
    assert case == ["workers", "5", "1,600", "1"]
    assert min(map(number, (step, each, memory))) > 0


def test_the_attack_is_charged_with_all_that_it_does(monkeypatch):
    """On a clock that nothing moves but the attack."""
    seconds = 0
    craft = ALIE.craft

    def slow(*arguments):
        nonlocal seconds
        seconds += 1
        return craft(*arguments)

    monkeypatch.setattr(ALIE, "craft", slow)
    monkeypatch.setattr(steps, "perf_counter", lambda: seconds)
    register(TOY)
    ((_, rows),) = tables(steps.breakdown("mlp", steps.Size(task=TOY, steps=4, every=2)))
    assert [row[:3] for row in rows[:-1]] == [
        [name, *(["1000.00 ms", "100%"] if name == "attack" else ["0.00 ms", "0%"])]
        for name in PARTS
    ]


def test_the_profile_command_prints_the_stages_of_a_model(capsys):
    steps.main(["mlp", "--threads", "1", "2", "--steps", "20"], TOY)
    printed = capsys.readouterr().out
    assert re.findall("On (.*):", printed) == ["1 thread", "2 threads"]
    assert [[row[0] for row in rows[:-1]] for _, rows in tables(printed)] == [PARTS, PARTS]
    with pytest.raises(SystemExit):
        steps.main(["resnet"], TOY)
    assert "'resnet' is no model; accepted: mlp, cnn" in capsys.readouterr().err


def test_calls_are_added_up_step_by_step(monkeypatch):
    """On a clock that only calls move; a step may not call everything, nor call it once."""
    seconds = 0

    def call(taken):
        nonlocal seconds
        seconds += taken

    monkeypatch.setattr(steps, "perf_counter", lambda: seconds)
    clock = steps.Clock()
    items = clock.around("sample", lambda: iter("abcd"))()
    noise = clock.around("noise", call)
    for taken in ([100], [1, 2], [], [4, 5]):
        assert next(items)
        for each in taken:
            noise(each)
        clock.end_step()
    assert clock.typical("noise") == 6
    assert clock.typical("sample") == 0
    assert list(items) == []
    assert clock.ends == [100, 103, 103, 112]
    with pytest.raises(RuntimeError, match="attack: no step calls it"):
        clock.typical("attack")


class Idle(InProcess):
    """Trains nothing, which takes no time."""

    def run(self, batches, supplies, on_progress):
        for batch in batches:
            yield Outcome(batch, reason="idle")


def test_stores():
    short = [RunSpec(clip_norm=1.0, noise_scale=0.1, steps=2, seed=seed) for seed in (0, 1)]
    ((_, rows),) = tables(stores.report(short, short, (Idle(), Idle(), Idle()), rounds=1, seeds=1))
    assert [row[0] for row in rows[:2]] == [
        "2 digits runs through a store",
        "2 CNN runs, 1 process of 1 thread / 2 of 1",
    ]
    assert all(is_ratio(row[3]) for row in rows[1:3])
    assert [row[0] for row in rows[3:]] == [
        "500 runs: open",
        "500 runs: resume a sweep of all of them",
        "500 runs: resume a sweep of all but one",
        "500 runs: its runs from its file",
        "500 runs: the table of all",
        "500 runs: the table of the first 25",
    ]
    assert all(number(row[1]) >= 0 for row in rows)


def test_startup():
    small, large = {"run sweep.yaml": "1 s"}, {"status results.db": "2 s"}
    ((_, rows),) = tables(startup.report(1, 1, small, large_seeds=2, large=large))
    assert [(command, aim) for command, _, _, aim in rows] == [
        ("500 runs: `privrobust run sweep.yaml`", "1 s"),
        ("1,000 runs: `privrobust status results.db`", "2 s"),
    ]
    for _, seconds, megabytes, _ in rows:
        assert number(seconds) > 0
        assert 10 < number(megabytes) < 10_000


def test_sweeps(tmp_path):
    file = tmp_path / "short.yaml"
    file.write_text(
        "{clip_norm: 1, noise_scale: 0.1, honest: 4, steps: 2, batch_size: 8, grid: {"
        "aggregator: [mean, median, majority_vote], byzantine: [0, 1], attack: [sign_flip, alie]}}"
    )
    digits = [run.model_copy(update={"steps": 2}) for run in sweeps.DIGITS[:4]]
    report = sweeps.report(digits, 1, 1, file, peer_steps=1, elsewhere=here, conditions=HERE)
    ((_, rows),) = tables(report)
    assert rows[0][:2] == ["4 digits runs, lanes on", "the same one by one (1 of them, scaled)"]
    assert is_ratio(rows[0][4])
    assert rows[1][:2] == ["the quickstart, 9 runs", "opacus + ByzFL (9 kinds of run, scaled)"]
    assert all(number(cell) >= 0 for cell in rows[1][2:5])


def test_tightness():
    regions = {"one step": [(2.0, 1.0, 1, 1e-5)]}
    ((_, rows),) = tables(tightness.report(regions, size=100))
    ((*setting, spent, share),) = rows
    assert setting == ["one step", "2", "1", "1", "1e-05"]
    assert number(spent) > 0
    assert 0 < number(share) <= 50


def test_what_is_measured_is_written_between_a_sections_marks(tmp_path):
    page = tmp_path / "README.md"
    before = report.README.read_text(encoding="utf-8")
    page.write_text(before, encoding="utf-8")
    report.write(page, "kernels", "| measured |")
    after = page.read_text(encoding="utf-8")
    head, _, rest = before.partition("<!-- kernels -->")
    _, _, tail = rest.partition("<!-- end of kernels -->")
    assert after.startswith(f"{head}<!-- kernels -->\n")
    assert after.endswith(f"\n\n| measured |\n<!-- end of kernels -->{tail}")
    written = after[len(head) : -len(tail)]
    assert f"torch {torch.__version__.partition('+')[0]}" in written
    with pytest.raises(ValueError, match="no <!-- speed -->"):
        report.write(page, "speed", "| measured |")


@pytest.mark.parametrize("section", report.SECTIONS)
def test_every_section_has_its_benchmark_and_its_place(section):
    assert callable(import_module(section).report)
    page = report.README.read_text(encoding="utf-8")
    assert report.replaced(page, section, "| measured |") != page


def test_what_is_no_section_is_refused_before_anything_is_measured(capsys):
    with pytest.raises(SystemExit):
        report.main(["kernels", "speed"])
    assert "'speed' is no benchmark; accepted: engine, sweeps" in capsys.readouterr().err


def test_the_command_measures_the_sections_that_it_is_asked_for(tmp_path, monkeypatch, capsys):
    page = tmp_path / "README.md"
    page.write_text("<!-- lanes -->\n<!-- end of lanes -->\n", encoding="utf-8")
    monkeypatch.setattr(lanes, "report", lambda: "| measured |")
    report.main(["lanes", "--page", str(page)])
    assert capsys.readouterr().out == "lanes\n\n| measured |\n\n"
    assert "| measured |\n<!-- end of lanes -->" in page.read_text(encoding="utf-8")


def test_every_benchmark_is_here():
    there = {path.stem for path in Path(report.README.parent).glob("*.py")}
    assert there <= set(globals()) | {"tasks"}
