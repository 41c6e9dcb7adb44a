"""What is read of NVFlare jobs: filters, rounds, scripts with Opacus; and their HOCON."""

import json

import pytest

from privrobust.errors import SpecError
from privrobust.federated.check.claims import NotPrivate, SampleNoise, SparseVector, Unread
from privrobust.federated.check.hocon import parse_hocon
from privrobust.federated.check.nvflare_job import read_nvflare_job
from privrobust.federated.check.reading import check

SVT = "nvflare.app_common.filters.svt_privacy.SVTPrivacy"
PERCENTILE = "nvflare.app_common.filters.percentile_privacy.PercentilePrivacy"
SERVER = {
    "format_version": 2,
    "workflows": [
        {
            "id": "w",
            "path": "nvflare...ScatterAndGather",
            "args": {"num_rounds": 5, "min_clients": 2},
        }
    ],
}


def client(*filters, kind="task_result_filters", **more):
    return {"format_version": 2, kind: [{"tasks": ["train"], "filters": list(filters)}], **more}


def a_filter(path, **args):
    return {"path": path, "args": args}


@pytest.fixture
def job(tmp_path):
    """Writes a job, and returns its folder."""

    def make(of_client, of_server=SERVER, app="app"):
        config = tmp_path / app / "config"
        config.mkdir(parents=True, exist_ok=True)
        for name, content in (("client", of_client), ("server", of_server)):
            text = content if isinstance(content, str) else json.dumps(content)
            (config / f"config_fed_{name}.json").write_text(text)
        return tmp_path

    return make


def test_the_sparse_vector_filter_with_its_defaults(job):
    (claim,) = read_nvflare_job(job(client(a_filter(SVT)))).claims
    assert claim == SparseVector(
        where="app/config/config_fed_client.json, task_result_filters",
        what="SVTPrivacy",
        rounds=5,
    )


def test_its_arguments_variables_and_answers(job):
    of_client = client(a_filter(SVT, epsilon="{EPS}", fraction=0.5, epsilon_release=2), EPS=0.7)
    folder = job(of_client)
    (claim,) = read_nvflare_job(folder, ["parameters=50", "rounds=2"]).claims
    assert (claim.epsilon, claim.fraction, claim.epsilon_release) == (0.7, 0.5, 2.0)
    assert (claim.parameters, claim.rounds) == (50, 2)
    assert check(folder).findings[0].verdict == "does not hold"


def test_a_site_is_told_once_for_equal_jobs_and_every_app_is_read(job):
    folder = job(client(a_filter(SVT)), app="app_site-1")
    job(client(a_filter(SVT, epsilon=0.2)), app="app_site-2")
    assert [claim.epsilon for claim in read_nvflare_job(folder).claims] == [0.1, 0.2]


@pytest.mark.parametrize(
    ("kind", "where", "is_on_results"),
    [
        ("task_result_filters", "client", True),
        ("task_data_filters", "client", False),
        ("task_result_filters", "server", False),
    ],
)
def test_only_what_a_client_filters_of_its_results_hides_from_the_server(
    job, kind, where, is_on_results
):
    filtered = client(a_filter(SVT), kind=kind)
    folder = job(filtered) if where == "client" else job({}, SERVER | filtered)
    (claim,) = read_nvflare_job(folder).claims
    assert claim.is_on_results is is_on_results
    assert ("server" in check(folder).findings[0].against) is is_on_results


def test_filters_without_noise_are_no_privacy(job):
    folder = job(
        client(
            a_filter(PERCENTILE), a_filter("nvflare.app_opt.he.model_encryptor.HEModelEncryptor")
        )
    )
    percentile, encrypted = read_nvflare_job(folder).claims
    assert isinstance(percentile, NotPrivate)
    assert isinstance(encrypted, NotPrivate)
    assert [found.verdict for found in check(folder).findings] == ["does not hold", "no claim"]


def test_filters_of_ones_own_are_asked_by_their_name(job):
    folder = job(client(a_filter("mine.LaplaceNoise"), a_filter("mine.Rename")))
    (claim,) = read_nvflare_job(folder).claims
    assert isinstance(claim, Unread)
    assert claim.what == "LaplaceNoise"


def test_a_sites_policy(tmp_path):
    policy = {"scopes": [{"name": "private", "task_result_filters": [a_filter(PERCENTILE)]}]}
    (tmp_path / "privacy.json").write_text(json.dumps(policy))
    (claim,) = read_nvflare_job(tmp_path / "privacy.json").claims
    assert claim.what == "PercentilePrivacy"


def test_opacus_in_a_script_by_options_of_its_command_line(job):
    executor = {
        "executor": {
            "args": {"task_script_path": "train.py", "task_script_args": "--batch-size 32 --bare"}
        }
    }
    folder = job({"executors": [executor]})
    custom = folder / "app" / "custom"
    custom.mkdir()
    (custom / "train.py").write_text(
        "import argparse\n"
        "from opacus import PrivacyEngine\n"
        "parser = argparse.ArgumentParser()\n"
        "parser.add_argument('--target_epsilon', type=float, default=1.5)\n"
        "parser.add_argument('--batch-size', type=int, default=64)\n"
        "args = parser.parse_args()\n"
        "PrivacyEngine().make_private_with_epsilon(\n"
        "    target_epsilon=args.target_epsilon, target_delta=1e-5, epochs=2, max_grad_norm=1.0)\n"
    )
    (claim,) = read_nvflare_job(folder, ["epochs=2", "dataset_size=320"]).claims
    assert isinstance(claim, SampleNoise)
    assert (claim.epsilon, claim.delta, claim.claimed_epochs) == (1.5, 1e-5, 2)
    assert (claim.batch_size, claim.rounds) == (32, 5)
    assert check(folder, ["epochs=2", "dataset_size=320"]).findings[0].verdict == "does not hold"
    (other,) = check(folder, ["epochs=2", "dataset_size=320", "rounds=1"]).findings
    assert other.verdict == "holds"


@pytest.mark.parametrize("script", ["train.py", "../../secret.py", "/etc/passwd", "a/b.py"])
def test_a_script_that_is_not_there_is_told(job, script):
    folder = job({"executors": [{"args": {"task_script_path": script}}]})
    (folder / "secret.py").write_text("raise SystemExit")
    read = read_nvflare_job(folder)
    assert read.claims == ()
    assert read.notes == (f"Not there, and so not read: {script}.",)


def test_noise_for_all_rounds_as_nvflares_own_example_finds_it(job):
    folder = job({"executors": [{"args": {"task_script_path": "train.py"}}]})
    custom = folder / "app" / "custom"
    custom.mkdir()
    (custom / "train.py").write_text(
        "import nvflare.client as flare\n"
        "from opacus import PrivacyEngine\n"
        "epochs = 2\n"
        "while flare.is_running():\n"
        "    received = flare.receive()\n"
        "    if received.current_round == 0:\n"
        "        every = epochs * received.total_rounds\n"
        "        PrivacyEngine().make_private_with_epsilon(\n"
        "            epochs=every, target_epsilon=1.0, target_delta=1e-5, max_grad_norm=1.0)\n"
    )
    answers = ["epochs=2", "dataset_size=320", "batch_size=32"]
    (claim,) = read_nvflare_job(folder, answers).claims
    assert claim.claimed_epochs == 2 * 5
    assert check(folder, answers).findings[0].verdict == "holds"
    assert check(folder, [*answers, "claimed_epochs=2"]).findings[0].verdict == "does not hold"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("[1]", "accepted: fields and values"),
        ("[" * 100_000, "not valid JSON"),
        ('{"task_result_filters": 3}', "is no filter"),
        ('{"task_result_filters": [{"filters": [{"args": {}}]}]}', "accepted: path and args"),
        (
            '{"task_result_filters": [{"path": "x.SVTPrivacy", "args": {"epsilon": NaN}}]}',
            "epsilon",
        ),
        ('{"task_result_filters": [{"path": "x.SVTPrivacy", "args": {"epsilon": -1}}]}', "epsilon"),
        (
            '{"task_result_filters": [{"path": "SVTPrivacy", "args": {"epsilon_query": 3}}]}',
            "less than its parts",
        ),
        (" " * 1_000_001, "larger than"),
    ],
)
def test_a_job_that_cannot_be_is_one_clear_line(job, content, message):
    with pytest.raises(SpecError) as raised:
        read_nvflare_job(job(content))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_folder_without_a_job(tmp_path):
    with pytest.raises(SpecError, match="neither pyproject"):
        check(tmp_path)
    with pytest.raises(SpecError, match="is not there"):
        check(tmp_path / "nothing")


def test_links_out_of_the_job_are_not_followed(job, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "config_fed_client.json").write_text(json.dumps(client(a_filter(PERCENTILE))))
    folder = job(client())
    (folder / "more").symlink_to(elsewhere)
    assert read_nvflare_job(folder).claims == ()


def test_hocon_of_templates():
    text = """
    {
      # a comment
      format_version = 2
      task_result_filters = []
      workflows = [
          {
            // another
            id = "scatter: gather"
            path = nvflare.app_common.ScatterAndGather
            args { num_rounds = 5, wait = 0.5, on = true
                   none = null
                 }
          }
      ]
      args.expected_data_kind = "WEIGHTS"
      "a.b": 1e-5
    }
    """
    assert parse_hocon(text, "x.conf") == {
        "format_version": 2,
        "task_result_filters": [],
        "workflows": [
            {
                "id": "scatter: gather",
                "path": "nvflare.app_common.ScatterAndGather",
                "args": {"num_rounds": 5, "wait": 0.5, "on": True, "none": None},
            }
        ],
        "args": {"expected_data_kind": "WEIGHTS"},
        "a.b": 1e-5,
    }


def test_json_is_hocon():
    content = {"a": [1, -2.5, True, None, 'x"y\\z'], "b": {"c": {}, "d": []}}
    assert parse_hocon(json.dumps(content, indent=1), "x.conf") == content
    assert parse_hocon("a = 1\nb = 2", "x.conf") == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    "text",
    [
        "a = ${b}",
        'include "other.conf"',
        "a += 1",
        "a = b c",
        "{a = 1",
        "a = [1",
        "a = 1 } b",
        "= 1",
        "a",
        "a = " + "[" * 100,
        'a = "open',
        "a = 1\na.b = 2",
    ],
)
def test_hocon_that_is_not_read_is_one_clear_line(text):
    with pytest.raises(SpecError, match=r"'x.conf', line \d+: not valid HOCON"):
        parse_hocon(text, "x.conf")


def test_a_job_in_hocon_and_in_yaml(tmp_path):
    config = tmp_path / "config"
    config.mkdir()
    (config / "config_fed_client.conf").write_text(
        f'task_result_filters = [{{ tasks = ["train"], filters = [{{ path = "{SVT}" }}] }}]'
    )
    (config / "config_fed_server.yml").write_text("workflows:\n- args: {num_rounds: 9}\n")
    (claim,) = read_nvflare_job(tmp_path).claims
    assert claim.rounds == 9


def test_a_yaml_bomb_is_refused(tmp_path):
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    (tmp_path / "config_fed_client.yml").write_text("\n".join(lines))
    with pytest.raises(SpecError, match="more than 100,000 values"):
        read_nvflare_job(tmp_path)
