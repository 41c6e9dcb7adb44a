"""Pictures for papers and meetings: one file a figure, from runs as `Store.runs` gives them.

matplotlib is imported only when one is drawn, and its settings are left as they were. All are 3.3
or 6.8 inches wide (one or two columns of a page), and told apart without colour too.

| kind | function |
| --- | --- |
| `epsilon` | `privrobust.figures.epsilon.epsilon_figure(runs)` |
| `heatmap` | `privrobust.figures.heatmap.heatmap_figure(runs)` |
| `pareto` | `privrobust.figures.pareto.pareto_figure(runs)` |
| `curves` | `privrobust.figures.curves.curves_figure(runs, histories)` |
| `learning_rate` | `privrobust.figures.learning_rate.learning_rate_figure(runs)` |
| `bias_variance` | `privrobust.figures.bias_variance.bias_variance_figure(messages, scales)` |
| `partitions` | `privrobust.figures.partitions.partition_figure(dataset, partitions, honest)` |
"""

from privrobust.figures.canvas import new_figure, save_figure

__all__ = ["new_figure", "save_figure"]
