"""Plots, as SVG whose bytes are the same for the same data."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from neuron_descriptions.atlas.further import read_atlas
from neuron_descriptions.common.storage import whole

OWN, OTHER, TOKENS = "#c2570c", "#8a8a8a", "#2f6fab"


@contextmanager
def _drawing(output: str, width: float, columns: int = 1) -> Iterator[Any]:
    """Axes of a figure (a list of them where it has several columns) that is written to `output` at the end."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    style = {"svg.hashsalt": "atlas", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    matplotlib.rcParams.update(style)  # type: ignore[arg-type]
    figure, axes = plt.subplots(1, columns, figsize=(width, 3.2), layout="constrained")
    yield axes
    with whole(output) as part:
        figure.savefig(part, format="svg", metadata={"Date": None})


def plot_scores(atlas: str, output: str) -> None:
    """Draw each layer's scores beside what chance and the token baseline get; without a simulator, direct scores."""
    table = read_atlas(atlas)[0].filter(pc.field("status") == "ok")
    layers = sorted(set(table["layer"].to_pylist()))
    series: tuple[tuple[str, str, str], ...] = (
        ("score", "description", OWN),
        ("panel_best_null_score", "descriptions of other neurons, chosen alike", OTHER),
        ("token_baseline_score", "token baseline", TOKENS),
    )
    if "score" not in table.schema.names:  # no simulator
        series = (
            ("direct_score_contrast", "concepts, by their own predictions", OWN),
            ("token_baseline_contrast", "token baseline", TOKENS),
        )
    elif not _numbers(table["panel_best_null_score"].to_pylist()):  # no panel: chance is known of the contrast alone
        series = (
            ("score_contrast", "description", OWN),
            ("best_null_score", "descriptions of other neurons, chosen alike", OTHER),
            ("token_baseline_contrast", "token baseline", TOKENS),
        )
    with _drawing(output, max(5.0, 0.5 * len(layers) + 3)) as axes:
        for shift, (column, label, colour) in enumerate(series):
            for place, layer in enumerate(layers):
                values = _numbers(table.filter(pc.equal(table["layer"], layer))[column].to_pylist())
                x = place + (shift - 1) * 0.25
                spread = np.linspace(-0.07, 0.07, len(values)) if len(values) > 1 else np.zeros(len(values))
                axes.plot(x + spread, values, ".", color=colour, alpha=0.45, markersize=4)
                if len(values):
                    axes.hlines(np.median(values), x - 0.1, x + 0.1, color=colour, linewidth=2.5)
            axes.plot([], [], color=colour, linewidth=2.5, label=label)
        axes.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
        axes.set_xticks(range(len(layers)), [str(layer) for layer in layers])
        axes.set_xlabel("layer")
        names = {"score": "score", "score_contrast": "contrast score"}
        axes.set_ylabel(f"{names.get(series[0][0], 'direct score')} (bar: median)")
        if layers:
            axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
        else:
            axes.set_title("no row has status ok")


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


def _numbers(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]
