"""The figures that can be asked for by name: the one list that the command and its help read."""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Kind:
    """A figure by name.

    Attributes:
        home: the function that draws it and, before the dot, the module of `figures` that has it.
        help: what is seen, in a line.
        needs: what the function is given: `runs` and `histories` as from a `Store`, or a dataset
            and who shares it. Nothing, where it draws no results.
        options: of `privrobust figure`, those that this figure alone takes.

    """

    home: str
    help: str
    needs: tuple[str, ...] = ("runs",)
    options: tuple[str, ...] = ()

    def draw(self, *arguments: Any, **settings: Any) -> "Figure":
        """Import the function, and with it matplotlib, and call it."""
        module, _, name = self.home.partition(".")
        drawn: Figure = getattr(import_module(f"{__package__}.{module}"), name)(
            *arguments, **settings
        )
        return drawn


FIGURES = {
    "epsilon": Kind(
        "epsilon.epsilon_figure",
        "accuracy (or --metric) against epsilon, clean and worst case",
        options=("metric",),
    ),
    "heatmap": Kind(
        "heatmap.heatmap_figure",
        "worst-case accuracy (or --metric), f by heterogeneity, by method and b",
        options=("metric",),
    ),
    "pareto": Kind("pareto.pareto_figure", "what nobody beats in utility, privacy and robustness"),
    "curves": Kind(
        "curves.curves_figure",
        "accuracy (or --measure) against the step",
        needs=("runs", "histories"),
        options=("measure",),
    ),
    "learning_rate": Kind(
        "learning_rate.learning_rate_figure",
        "the best one against b, of a sweep that tunes or varies it",
    ),
    "partitions": Kind(
        "partitions.partition_figure",
        "how many examples of each label these runs' workers hold",
        needs=("dataset", "partitions", "honest"),
        options=("dataset", "data_dir", "partition"),
    ),
    "bias_variance": Kind(
        "bias_variance.bias_variance_figure",
        "of the noisy median against b, with theory; needs no store",
        needs=(),
        options=("noise",),
    ),
}


def listed() -> str:
    """Write the figures and what each shows, a line a figure."""
    width = max(map(len, FIGURES))
    return "\n".join(f"{name:{width}}  {kind.help}" for name, kind in FIGURES.items())
