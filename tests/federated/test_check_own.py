"""What is read of our own YAML: what each run claims against an upper bound."""

import pytest

from privrobust.accountants import Release, epsilon
from privrobust.errors import SpecError
from privrobust.federated.check.reading import check

RUN = "honest: 3\nsteps: 20\nclip_norm: 1.0\nnoise_scale: 0.1\nbatch_size: 30\n"


@pytest.fixture
def checked(tmp_path):
    def of(text, changes=()):
        (tmp_path / "run.yaml").write_text(text)
        return check(tmp_path / "run.yaml", changes).findings

    return of


def test_a_run_is_what_its_messages_spend(checked):
    (found,) = checked(RUN + "sampling_rate: 0.1\n")
    release = Release(noise_scale=0.1, clip_norm=1.0, batch_size=30, sampling_rate=0.1, steps=20)
    assert found.holds == epsilon(release)
    assert (found.verdict, found.unit, found.adjacency) == ("holds", "example", "add-or-remove")
    assert "server" in found.against


def test_local_steps_are_steps_where_examples_are_protected(checked):
    (found,) = checked(RUN + "local_steps: 4\n")
    assert found.holds == checked(RUN.replace("steps: 20", "steps: 80"))[0].holds
    assert found.why.startswith("80 steps, by ")
    workers = RUN.replace("noise_scale: 0.1", "noise_scale: 10") + "unit: worker\n"
    assert checked(workers + "local_steps: 4\n")[0].holds == checked(workers)[0].holds


@pytest.mark.parametrize("field", ["target_epsilon", "max_epsilon"])
def test_a_budget_that_is_stated_holds(checked, field):
    noise = "" if field == "target_epsilon" else "noise_scale: 0.1\n"
    text = RUN.replace("noise_scale: 0.1\n", noise) + f"{field}: 3.0\n"
    (found,) = checked(text)
    assert (found.claim, found.claimed, found.verdict) == (f"{field} 3", 3.0, "holds")
    assert found.holds <= 3.0


def test_an_estimate_is_held_against_an_upper_bound(checked):
    (found,) = checked(RUN + "accountant: gdp\n")
    assert found.claimed < found.holds
    assert found.verdict == "does not hold"
    assert "is an estimate" in found.why


def test_no_noise_is_no_claim(checked):
    (found,) = checked(RUN.replace("noise_scale: 0.1", "noise_scale: 0"))
    assert (found.claim, found.verdict) == ("none", "no claim")


def test_runs_of_a_sweep_are_told_once_for_all_seeds(checked):
    fixed = RUN.replace("noise_scale: 0.1\n", "")
    found = checked(fixed + "grid: {noise_scale: [0.1, 0.2], seed: [0, 1, 2]}\n")
    assert [each.what for each in found] == ["b = 0.1, 3 runs", "b = 0.2, 3 runs"]
    assert found[0].holds > found[1].holds
    assert [each.what for each in checked(RUN, ["steps=10"])] == ["1 run"]


def test_candidates_of_tuning_are_runs_too(checked):
    (found,) = checked(RUN + "tune: {learning_rate: [0.1, 0.5]}\n")
    assert found.holds == checked(RUN)[0].holds


def test_code_is_not_run(checked, tmp_path):
    (tmp_path / "mine.py").write_text(f"open({str(tmp_path / 'was_run')!r}, 'w')")
    with pytest.raises(SpecError, match="mine:Rule"):
        checked(RUN + "aggregator: 'mine:Rule'\n")
    assert not (tmp_path / "was_run").exists()


def test_what_is_no_run(checked):
    with pytest.raises(SpecError, match="unknown"):
        checked("stepz: 3")


def test_the_best_of_a_random_number_of_runs_is_private_against_outsiders_alone(checked):
    (one,) = checked(RUN)
    (found,) = checked(RUN + "repeats: poisson(mean=3)\n")
    assert (found.against, found.verdict) == ("outsiders", "holds")
    assert found.holds > one.holds
    (every,) = checked(RUN + "repeats: constant(count=3)\n")
    assert every.against == one.against != found.against
