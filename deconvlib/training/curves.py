"""Figures of trainings: curves, gradient norms, the gap between training and test."""

import textwrap

import matplotlib.style
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from scipy import stats

from deconvlib import figures


def curves(histories):
    """Training (dashed) against test (solid) after each epoch. histories: {name: one row an epoch, as training.fit returns}."""
    fig = figures.figure(2.8)
    _curves(fig, histories)
    return fig


def curves_and_mistakes(histories, examined=None):
    """`curves`, over eight places for images with what the network says of them. examined: (images, titles), or None."""
    histories = {textwrap.fill(name, 54): history for name, history in histories.items()}
    lines, half = [name.count("\n") + 1 for name in histories], -(-len(histories) // 2)
    height = 2.6 + 0.16 * max(sum(lines[:half]), sum(lines[half:]))  # with the names in two columns
    fig = figures.figure(height + 1.3)
    upper, lower = fig.subfigures(2, 1, height_ratios=(height, 1.3))
    _curves(upper, histories)
    axs = lower.subplots(1, 8)
    for ax in axs:
        figures.bare(ax)
    images, titles = examined or ([], [])
    for ax, image, title in zip(axs, figures.pixels(images) if len(images) else [], titles, strict=False):
        figures.show(ax, image, title)
    lower.supxlabel("Test images that it gets wrong now, and what it says" if len(images) else "", fontsize=8, color="0.35")
    return fig


def _curves(fig, histories):
    axs = fig.subplots(1, 2)
    for ax, column in zip(axs, ("accuracy", "loss"), strict=True):
        for index, (name, history) in enumerate(histories.items()):
            ax.plot(history["epoch"], history[column], "--", color=f"C{index}")
            ax.plot(history["epoch"], history[f"val_{column}"], "-o", markersize=3, color=f"C{index}", label=name)
        ax.set(xlabel="epoch", ylabel=column)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    axs[0].set_ylim(0, 1)
    kinds = [Line2D([], [], color="0.3", linestyle=style, label=part) for style, part in (("--", "training"), ("-", "test"))]
    axs[1].legend(handles=kinds)
    fig.legend(*axs[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)


def gradient_norms(histories):
    """Norm of the loss' gradient at each kernel after each epoch, one line a layer, from first (dark) to last.

    histories: {name: one row an epoch, as training.fit returns with `gradient_norms`}; a panel each.
    """
    fig, axs = figures.panels(len(histories), 3.4)
    for ax, (name, history) in zip(axs, histories.items(), strict=True):
        norms = {column.removeprefix("gradient/"): history[column] for column in history if column.startswith("gradient/")}
        colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(norms)))
        for (layer, values), colour in zip(norms.items(), colours, strict=True):
            ax.plot(history["epoch"], values, "-o", markersize=3, color=colour, label=layer)
        ax.set(xlabel="epoch", yscale="log", title=name)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=4, fontsize=7)
    axs[0].set_ylabel("norm of the gradient at the kernel")
    return fig


def learning_curves(curves):
    """Mean over the seeds of the test accuracy after each epoch, one line a variant, with its 95 % interval as a band.

    curves: {variant: (seeds, epochs)}. A single seed has no band.
    """
    means = {name: np.mean(values, axis=0) for name, values in curves.items()}
    # its strong colours first: side by side are a strong one and its pale twin
    colours = matplotlib.colormaps["tab20"](np.r_[0:20:2, 1:20:2][np.arange(len(means)) % 20])
    fig = _by_epoch(means, colours, ylabel="test accuracy")
    for (name, values), colour in zip(curves.items(), colours, strict=True):
        if len(values) > 1:
            half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
            ends = means[name] - half, means[name] + half
            fig.axes[0].fill_between(range(1, len(half) + 1), *ends, color=colour, alpha=0.15, linewidth=0)
    return fig


def _by_epoch(lines, colours, **axes):
    """lines: {name: a value an epoch}."""
    fig, ax = figures.one(2.8)
    for (name, values), colour in zip(lines.items(), colours, strict=True):
        ax.plot(range(1, len(values) + 1), values, "-o", markersize=3, color=colour, label=name)
    ax.set(xlabel="epoch", **axes)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


def gradient_flow(table):
    """Norm of the loss' gradient at each kernel by depth, one panel an activation, one line a network.

    table: a row a kernel with columns network, activation, seed, layer (1 is next to the image) and norm. Lines are
    geometric means over the seeds, bands reach from the least to the greatest.
    """
    fig, axs = figures.panels(table["activation"].nunique(), 2.9)
    for ax, (activation, rows) in zip(axs, table.groupby("activation", sort=False), strict=True):
        for index, (name, lines) in enumerate(rows.groupby("network", sort=False)):
            logs = np.log(lines.pivot(index="layer", columns="seed", values="norm").clip(lower=1e-12))
            ax.plot(logs.index, np.exp(logs.mean(axis=1)), "-o", markersize=3, color=f"C{index}", label=name)
            ends = np.exp(logs.min(axis=1)), np.exp(logs.max(axis=1))
            ax.fill_between(logs.index, *ends, color=f"C{index}", alpha=0.15, linewidth=0)
        ax.set(title=activation, xlabel="layer; 1 is next to the image", yscale="log")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    axs[0].set_ylabel("norm of the gradient at the kernel")
    fig.legend(*axs[0].get_legend_handles_labels(), loc="outside lower center", ncols=table["network"].nunique())
    return fig


def overfitting(table):
    """Accuracy on training images (hollow) and on test images (filled), a row a setting; the line between is the gap.

    table: columns setting, training and test, shares; the first row, which the others change, is a grey line.
    """
    fig, ax = figures.one(0.26 * len(table) + 0.8)
    place = np.arange(len(table))
    ax.axvline(table["test"].iloc[0], color="0.8", linewidth=0.8, zorder=0)
    ax.hlines(place, table["test"], table["training"], color="0.75")
    ax.plot(table["training"], place, "o", color="C0", fillstyle="none", label="training")
    ax.plot(table["test"], place, "o", color="C0", label="test")
    ax.set_yticks(place, table["setting"])
    ax.set(xlabel="accuracy", xlim=(0, 1.03))
    ax.invert_yaxis()
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig
