"""Plots, as SVG whose bytes are the same for the same data."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from neuron_descriptions.atlas.charting import STEP, charts
from neuron_descriptions.atlas.further import read_atlas
from neuron_descriptions.common.storage import read_table, whole
from neuron_descriptions.descriptions.tables import ACCOUNTS

OWN, OTHER, TOKENS = "#c2570c", "#8a8a8a", "#2f6fab"
COLOURS = {"own": OWN, "chance": OTHER, "ceiling": TOKENS}
TYPE_COLOURS = ("#2f6fab", "#7fb0d9", "#c2570c", "#d9b300", "#cfcfcf")
MOST_WIDTH = 24.0  # inches


@contextmanager
def _drawing(output: str, width: float, columns: int = 1, rows: int = 1) -> Iterator[Any]:
    """Axes of a figure (a list of them where it has several) that is written to `output` at the end."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    style = {"svg.hashsalt": "atlas", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    matplotlib.rcParams.update(style)
    figure, axes = plt.subplots(rows, columns, figsize=(width, 3.2 * rows), layout="constrained")
    yield axes
    with whole(output) as part:
        figure.savefig(part, format="svg", metadata={"Date": None})


def plot_scores(atlas: str, accounts: str | None, output: str) -> None:
    """Draw an atlas as bands, whatever its rows: each layer's scores beside chance and what look-ups get; how often
    each score is had; descriptions against look-ups; types by layer; what describing took. accounts: table ACCOUNTS."""
    table = read_atlas(atlas)[0].filter(pc.field("status") == "ok")
    spent = read_table(accounts, ACCOUNTS).to_pylist() if accounts else []
    found = charts(table, spent)
    drawn = [_draw_bands, _draw_histogram, _draw_against]
    drawn += [_draw_types] if "types" in found else []
    drawn += [_draw_cost] if "cost" in found else []
    width = min(MOST_WIDTH, max(8.0, 0.5 * len(found["layers"]) + 5))
    with _drawing(output, width, rows=len(drawn) if found["layers"] else 1) as axes:
        if not found["layers"]:
            axes.set_title("no row has status ok")
        for draw, own in zip(drawn, axes if found["layers"] else ()):
            draw(own, found)


def _by_layer(axes: Any, found: dict[str, Any], label: str) -> None:
    axes.set_xticks(range(len(found["layers"])), [str(layer) for layer in found["layers"]])
    axes.set_xlabel("layer")
    axes.set_ylabel(label)


def _legend(axes: Any) -> None:
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))


def _draw_bands(axes: Any, found: dict[str, Any]) -> None:
    """Of each layer 90 % and 50 % of the rows, and their median."""
    for shift, series in enumerate(found["bands"]):
        colour = COLOURS[series["name"]]
        for place, band in enumerate(series["layers"]):
            x = place + (shift - 1) * 0.25
            if band is None:
                continue
            low, lower, middle, upper, high, _ = band
            axes.vlines(x, low, high, color=colour, linewidth=1.5, alpha=0.5)
            axes.vlines(x, lower, upper, color=colour, linewidth=6, alpha=0.5)
            axes.hlines(middle, x - 0.1, x + 0.1, color=colour, linewidth=2.5)
        axes.plot([], [], color=colour, linewidth=2.5, label=series["label"])
    axes.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
    _by_layer(axes, found, f"{found['name']}\n(bar: median; 50 %, 90 % of rows)")
    _legend(axes)


def _draw_histogram(axes: Any, found: dict[str, Any]) -> None:
    low = found["histogram"]["low"]
    for series in found["histogram"]["series"]:
        edges = low + STEP * np.arange(len(series["counts"]) + 1)
        axes.stairs(series["counts"], edges, color=COLOURS[series["name"]], linewidth=1.5, label=series["label"])
    axes.set_xlabel(found["name"])
    axes.set_ylabel("rows")
    _legend(axes)


def _draw_against(axes: Any, found: dict[str, Any]) -> None:
    low, counts = found["against"]["low"], np.array(found["against"]["counts"])
    shown = np.where(counts > 0, np.log10(np.maximum(counts, 1)) + 0.3, np.nan)
    axes.imshow(shown, cmap="Oranges", vmin=0, origin="lower", extent=(low, 1, low, 1), interpolation="nearest")
    axes.plot([low, 1], [low, 1], color="#888888", linewidth=0.8)
    axes.set_aspect("equal")
    axes.set_xlabel(found["against"]["label"])
    axes.set_ylabel(f"{found['name']}, description")


def _draw_types(axes: Any, found: dict[str, Any]) -> None:
    counts = np.array(found["types"]["layers"], float)
    shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    below = np.zeros(len(shares))
    for i, (name, colour) in enumerate(zip(found["types"]["names"], TYPE_COLOURS)):
        axes.bar(range(len(shares)), shares[:, i], 0.8, below, color=colour, label=name)
        below += shares[:, i]
    _by_layer(axes, found, "rows, %")
    _legend(axes)


def _draw_cost(axes: Any, found: dict[str, Any]) -> None:
    values = [0 if value is None else value for value in found["cost"]["layers"]]
    axes.bar(range(len(values)), values, 0.8, color=OTHER)
    _by_layer(axes, found, f"describing, {found['cost']['unit']}")


def plot_training(simulator: str, output: str) -> None:
    """Draw a trained simulator's loss, and how well it predicts held-out neurons, against the steps.

    simulator: the folder that `train_simulator` has written.
    """
    curve = json.loads((Path(simulator) / "curve.json").read_text())
    steps = [point["step"] for point in curve]
    with _drawing(output, 8.0, columns=2) as (losses, correlations):
        lines = (
            (losses, "train_loss", "train", OTHER),
            (losses, "loss", "held-out neurons and documents", OWN),
            (correlations, "own", "their own description", OWN),
            (correlations, "another", "another neuron's", OTHER),
        )
        for axes, name, label, colour in lines:
            axes.plot(steps, [point[name] for point in curve], ".-", color=colour, label=label)
        losses.set_ylabel("cross-entropy")
        losses.set_ylim(bottom=0)
        correlations.set_ylabel("correlation on held-out neurons")
        correlations.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
        for axes in (losses, correlations):
            axes.set_xlabel("step")
            axes.legend(frameon=False)
