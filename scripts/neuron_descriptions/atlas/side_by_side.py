"""What finished runs score in one layer, one beside the other, for the terminal: latents and neurons, for instance."""

import sys

from neuron_descriptions.atlas.comparison import Interval, mean_over_neurons
from neuron_descriptions.atlas.tables import ATLAS
from neuron_descriptions.common.storage import read_table
from neuron_descriptions.descriptions.candidates import NO_ACTIVATION

# Column of the atlas -> what it is called here.
SHOWN = {
    "score": "score",
    "score_contrast": "contrast score",
    "best_null_score": "chance",
    "direct_score": "by concepts",
    "token_baseline_score": "token look-up",
}


def layer_scores(folder: str, layer: int) -> tuple[int, int, dict[str, Interval]]:
    """(rows of sides that are ever active, rows with status ok, mean of each column of SHOWN over these with a 95 %
    interval over features) of a run's layer. Raises ValueError where the layer has no row that was scored."""
    rows = read_table(f"{folder}/atlas/atlas.parquet", ATLAS, [("layer", "==", layer)], ATLAS.names).to_pylist()
    rows = [row for row in rows if row["status"] != NO_ACTIVATION]  # the side that latents do not have
    scored = [row for row in rows if row["status"] == "ok"]
    if not scored:
        raise ValueError(f"{folder}: layer {layer} has no row with status ok, so there is nothing to compare")
    features = [(row["layer"], row["neuron"]) for row in scored]
    means = {column: mean_over_neurons([row[column] for row in scored], features) for column in SHOWN}
    return len(rows), len(scored), means


def side_by_side(folders: list[str], layer: int) -> str:
    """A table of some runs, a line each."""
    lines = [("run", "rows", "scored", *SHOWN.values())]
    for folder in folders:
        rows, scored, means = layer_scores(folder, layer)
        cells = ("{:.2f} [{:.2f}, {:.2f}]".format(*means[column]) for column in SHOWN)
        lines.append((folder.rstrip("/").rpartition("/")[2], str(rows), str(scored), *cells))
    widths = [max(map(len, column)) for column in zip(*lines)]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]
    return "\n".join([
        f"Layer {layer}: means over rows with status ok, 95 % intervals over features", *table,
        "score: correlation over text as it comes; contrast score and chance (best of as many other features'"
        " descriptions): on top, middle and random sequences",
    ])  # fmt: skip


if __name__ == "__main__":
    print(side_by_side(sys.argv[2:], int(sys.argv[1])))
