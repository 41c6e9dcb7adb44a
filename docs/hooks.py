"""Build the site of mkdocs.yml from the repository as it lies, and from docstrings.

mkdocs calls what is here (mkdocs.yml names this file under `hooks`). Pages keep the places that
they have in the repository, so that links between them work on both sides.
"""

import shutil
import tempfile
import tomllib
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]

# What pages outside docs/ or links of pages need; a link to what is missing here fails the build.
SHOWN = (
    "*.md",
    "CITATION.cff",
    "LICENSE",
    "accountants/correlated.py",
    "accountants/logistic.py",
    "benchmarks/README.md",
    "experiments/*.*",
    "experiments/federation/README.md",
    "experiments/federation/*.py",
    "experiments/federation/pyproject.toml",
    "experiments/study/*.py",
    "tests/attacks/test_parity.py",
)

# What users import from, each with a page docs/reference/<name>.md, and what that page shows beside
# the names of the module itself.
PUBLIC: dict[str, tuple[str, ...]] = {
    "privrobust": (),
    "privrobust.accountants": (),
    "privrobust.aggregators": (),
    "privrobust.attacks": (),
    "privrobust.audit": (),
    "privrobust.data": (),
    "privrobust.errors": (),
    "privrobust.federated": (),
    "privrobust.federated.flower": (),
    "privrobust.gradients": (),
    "privrobust.models": (),
    "privrobust.noise": (),
    "privrobust.reporting.figures": (
        "epsilon.epsilon_figure",
        "heatmap.heatmap_figure",
        "pareto.pareto_figure",
        "curves.curves_figure",
        "learning_rate.learning_rate_figure",
        "bias_variance.bias_variance_figure",
        "partitions.partition_figure",
    ),
    "privrobust.reporting.robustness": (),
    "privrobust.reporting.tables": (),
    "privrobust.schedules": (),
    "privrobust.spec": (),
    "privrobust.store": (),
    "privrobust.sweeps": (),
    "privrobust.sweeps.grid": (),
    "privrobust.theory": (),
    "privrobust.training.loop": (),
    "privrobust.training.result": (),
}

_LAID_OUT = tempfile.TemporaryDirectory()  # until mkdocs ends


@event_priority(100)  # before mkdocstrings, which looks for packages as it starts
def on_config(config: MkDocsConfig) -> None:
    """Lay the package out as it is installed, for mkdocstrings.

    It imports nothing, and knows nothing of the folders that pyproject.toml maps into the package.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for package, folder in project["tool"]["setuptools"]["package-dir"].items():
        target = Path(_LAID_OUT.name, *package.split("."))
        shutil.copytree(ROOT / folder, target, dirs_exist_ok=True)
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [_LAID_OUT.name]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Put pages where the repository has them, and add those outside docs/ and of the API."""
    folder = Path(config.docs_dir)
    for file in list(files):
        if file.src_dir == config.docs_dir:
            files.remove(file)
    sources = {path for pattern in SHOWN for path in ROOT.glob(pattern)}
    sources |= {path for path in folder.rglob("*") if path.suffix in {".css", ".md", ".svg"}}
    for path in sorted(sources):
        place = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, place, abs_src_path=str(path)))
    for name, more in PUBLIC.items():
        parts = [f"# {name}", f"::: {name}"]
        parts += [f"::: {name}.{each}\n    options: {{show_root_heading: true}}" for each in more]
        page = "\n\n".join(parts)
        files.append(File.generated(config, f"docs/reference/{name}.md", content=page))
    return files
