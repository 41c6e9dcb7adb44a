"""Who holds what: the training examples of each label at every honest worker."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from privrobust.core.escaping import in_figure
from privrobust.core.formatting import number
from privrobust.reporting.figures.canvas import NARROW, WIDE, new_figure, styled
from privrobust.reporting.figures.cells import title_of_data

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    from privrobust.data import Dataset
    from privrobust.data.partitions import Partition

_ACROSS = 3  # panels beside each other
_LARGEST = 0.8  # of a dot, in rows
_COLOR = "#0072B2"
_MOST_TICKS = 20


@styled
def partition_figure(
    dataset: "Dataset", partitions: Sequence[str], honest: int, seed: int = 0
) -> "Figure":
    """Draw what workers hold under partitions: a dot a worker and label, its area the count.

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
    figure = new_figure(NARROW if across == 1 else WIDE, 0.6 + (2.6 if across < 3 else 2.0) * down)
    panels = iter(figure.subplots(down, across, squeeze=False, sharey=True).flat)
    labels = dataset.train.labels
    for text, panel in zip(partitions, panels, strict=False):
        partition = get_partition(text)
        shares = partition.deal(codes(dataset, dataset.train, partition), honest, seed)
        _dots(panel, [labels[share].bincount(minlength=dataset.classes) for share in shares])
        panel.set_title(_title(text, partition))
    for unused in panels:
        unused.set_axis_off()
    figure.suptitle(f"{in_figure(dataset.name)}: training examples of each label and honest worker")
    figure.supxlabel("honest worker: how many examples it holds")
    figure.supylabel("label")
    return figure


def _title(text: str, partition: "Partition") -> str:
    """Name a partition as other figures do."""
    from privrobust.data.partitions import Similarity

    if isinstance(partition, Similarity):
        text = number(partition.heterogeneity)
    return title_of_data(text)


def _dots(panel: "Axes", counts: Sequence["Tensor"]) -> None:
    """Draw one column a worker."""
    from matplotlib.collections import EllipseCollection

    largest = max(int(of_worker.max()) for of_worker in counts)
    places, sizes = [], []
    for worker, of_worker in enumerate(counts):
        for label, count in enumerate(of_worker.tolist()):
            places.append((worker, label))
            sizes.append(_LARGEST * (count / largest) ** 0.5)
    panel.set(xlim=(-0.7, len(counts) - 0.3), ylim=(-0.7, len(counts[0]) - 0.3))
    panel.add_collection(
        EllipseCollection(
            sizes,
            sizes,
            [0.0],
            units="y",
            offsets=places,
            offset_transform=panel.transData,
            facecolors=_COLOR,
        )
    )
    labels, workers = _some(len(counts[0])), _some(len(counts))
    panel.set_yticks(labels, [str(label) for label in labels])
    totals = [f"{worker}: {int(counts[worker].sum())}" for worker in workers]
    panel.set_xticks(workers, totals, rotation=90)


def _some(count: int) -> range:
    """Return those of so many places that have room for a tick."""
    return range(0, count, -(-count // _MOST_TICKS))
