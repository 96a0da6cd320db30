"""Scores against learning rates."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .report import COLOURS, mean_and_deviation
from .results import Chosen


def plot_sweep(chosen: Sequence[Chosen], path: Path) -> None:
    """A panel for each data set, a line for each method: the mean test score at each rate, with the
    standard deviation over seeds. A full marker is the rate that validation chose."""
    data = list(dict.fromkeys(one.best.key[0] for one in chosen))
    names = list(dict.fromkeys(one.best.name for one in chosen))
    figure = Figure(figsize=(5 * len(data) + 2.5, 5), dpi=110, layout='constrained')
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(data), squeeze=False)[0]
    for panel, name in zip(panels, data, strict=True):
        of_data = [one for one in chosen if one.best.key[0] == name]
        for one in of_data:
            place = names.index(one.best.name)
            colour, marker = COLOURS[place % len(COLOURS)], 'osD^v'[place // 10 % 5]
            rates = [trained.lr for trained in one.sweep]
            means, spreads = zip(
                *(mean_and_deviation(trained.scores(trained.metric)) for trained in one.sweep),
                strict=True,
            )
            panel.errorbar(
                rates,
                means,
                yerr=[spread or 0 for spread in spreads],
                color=colour,
                marker=marker,
                markerfacecolor='white',
                capsize=2,
                linewidth=1.2,
                label=one.best.name,
            )
            best = rates.index(one.best.lr)
            panel.plot(rates[best], means[best], color=colour, marker=marker, zorder=5)
        panel.set_xscale('log')
        rates = sorted({trained.lr for one in of_data for trained in one.sweep})
        panel.set_xticks(rates, [f'{rate:g}' for rate in rates])
        panel.minorticks_off()
        panel.set_xlabel('learning rate')
        panel.set_ylabel(f'{of_data[0].best.metric} on the test set')
        panel.set_title(name)
        panel.grid(color='0.9')
    handles = {}
    for panel in panels:
        handles |= dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles, loc='outside right upper', fontsize=8, frameon=False)
    figure.savefig(path)
