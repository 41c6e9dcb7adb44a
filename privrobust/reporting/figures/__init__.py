"""Pictures for papers and meetings: one file a figure, from runs as `Store.runs` gives them.

matplotlib is imported only when one is drawn, and its settings are left as they were. All are 3.3
or 6.8 inches wide (one or two columns of a page), and told apart without colour too.

| kind | function |
| --- | --- |
| `epsilon` | `epsilon.epsilon_figure(runs)` |
| `heatmap` | `heatmap.heatmap_figure(runs)` |
| `pareto` | `pareto.pareto_figure(runs)` |
| `curves` | `curves.curves_figure(runs, histories)` |
| `learning_rate` | `learning_rate.learning_rate_figure(runs)` |
| `bias_variance` | `bias_variance.bias_variance_figure(messages, scales)` |
| `partitions` | `partitions.partition_figure(dataset, partitions, honest)` |
"""

from privrobust.reporting.figures.canvas import new_figure, save_figure

__all__ = ["new_figure", "save_figure"]
