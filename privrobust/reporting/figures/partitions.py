"""Who holds what: the training examples of each label at every honest worker."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from privrobust.core.escaping import in_figure
from privrobust.core.formatting import number
from privrobust.reporting.figures.canvas import NARROW, WIDE, new_figure, styled
from privrobust.reporting.figures.cells import title_of_data
from privrobust.reporting.figures.lettering import wrapped
from privrobust.reporting.figures.margins import add_notes
from privrobust.reporting.figures.panels import set_title
from privrobust.reporting.figures.themes import theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    from privrobust.data import Dataset
    from privrobust.data.partitions import Partition

_ACROSS = 3  # panels beside each other
_LARGEST = 0.8, 0.22  # of a dot: of a row's height and a column's width, and inches
_MOST_TICKS = 20
_KEY = 0.2  # of a panel's width, for the sizes of dots
_HEADLINE = 8.0  # points


@styled
def partition_figure(
    dataset: "Dataset", partitions: Sequence[str], honest: int, seed: int = 0
) -> "Figure":
    """Draw what workers hold under partitions: a dot a worker and label, whose area is the count.

    Args:
        dataset: whose training split is dealt.
        partitions: as specs name them.
        honest: workers.
        seed: of the partition.

    Raises:
        SpecError: a partition that cannot be made of this dataset, or matplotlib is missing.

    """
    from privrobust.data.partitions import get_partition
    from privrobust.training.shares import codes

    down = -(-len(partitions) // _ACROSS)
    across = min(_ACROSS, len(partitions))
    width = NARROW if across == 1 else WIDE
    figure = new_figure(width, 0.6 + (2.6 if across < 3 else 2.0) * down)
    ratios = [1.0] * across + [_KEY]
    axes = figure.subplots(down, across + 1, squeeze=False, sharey=True, width_ratios=ratios)
    labels = dataset.train.labels
    counts = []
    for text in partitions:
        partition = get_partition(text)
        shares = partition.deal(codes(dataset, dataset.train, partition), honest, seed)
        counts.append([labels[share].bincount(minlength=dataset.classes) for share in shares])
    largest = max(int(of_worker.max()) for workers in counts for of_worker in workers)
    panels = axes[:, :-1].flat
    inches = (width - 0.9) / across
    row = 1.6 / dataset.classes
    area = (min(_LARGEST[0], inches / honest / row, _LARGEST[1] / row)) ** 2 / largest
    for text, of_workers, panel in zip(partitions, counts, panels, strict=False):
        _dots(panel, of_workers, area)
        set_title(panel, inches, _title(text, get_partition(text)))
    for unused in [*axes[:, :-1].flat][len(partitions) :]:
        unused.set_axis_off()
    for panel in axes[:, -1]:
        panel.set_axis_off()
    _key(axes[0, -1], largest, area, dataset.classes)
    headline = f"{in_figure(dataset.name)}: training examples of each label and honest worker"
    figure.suptitle(wrapped(headline, width - 0.2, _HEADLINE))
    for panel in axes[-1, :-1]:
        panel.set_xlabel("honest worker: its examples")
    for panel in axes[:, 0]:
        panel.set_ylabel("label")
    add_notes(
        figure,
        [
            f"Partitions of seed {seed}; other seeds deal other examples. The area of a dot is the "
            "number of examples."
        ],
    )
    return figure


def _title(text: str, partition: "Partition") -> str:
    """Name a partition as other figures do."""
    from privrobust.data.partitions import Similarity

    if isinstance(partition, Similarity):
        text = number(partition.heterogeneity)
    return title_of_data(text)


def _dots(panel: "Axes", counts: Sequence["Tensor"], area: float) -> None:
    """Draw one column a worker; an example has so much of a dot's squared diameter, in rows."""
    places = [(worker, label) for worker in range(len(counts)) for label in range(len(counts[0]))]
    _circles(panel, places, [int(counts[worker][label]) for worker, label in places], area)
    panel.set(xlim=(-0.7, len(counts) - 0.3), ylim=(-0.7, len(counts[0]) - 0.3))
    labels, workers = _some(len(counts[0])), _some(len(counts))
    panel.set_yticks(labels, [str(label) for label in labels])
    totals = [f"{worker}: {int(counts[worker].sum())}" for worker in workers]
    panel.set_xticks(workers, totals, rotation=90)


def _key(panel: "Axes", largest: int, area: float, classes: int) -> None:
    """Draw dots of some sizes with what they stand for, in rows as high as those of panels."""
    sizes = sorted({largest, -(-largest // 4), 1}, reverse=True)
    step = min(1.0, classes / 8)  # rows, where there are few and high ones
    places = [(0.0, classes - 1 - step * row) for row in range(len(sizes))]
    _circles(panel, places, sizes, area)
    panel.set_xlim(-1.0, 2.0)
    for (_, y), count in zip(places, sizes, strict=True):
        panel.text(0.7, y, str(count), va="center", fontsize=6.5)


def _circles(
    panel: "Axes", places: Sequence[tuple[float, float]], counts: Sequence[int], area: float
) -> None:
    """Draw dots whose areas are counts."""
    from matplotlib.collections import EllipseCollection

    sizes = [(area * count) ** 0.5 for count in counts]
    panel.add_collection(
        EllipseCollection(
            sizes,
            sizes,
            [0.0],
            units="y",
            offsets=places,
            offset_transform=panel.transData,
            facecolors=theme().lines[0],
        )
    )


def _some(count: int) -> range:
    """Return those of so many places that have room for a tick."""
    return range(0, count, -(-count // _MOST_TICKS))
