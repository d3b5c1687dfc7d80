# Descriptions from elsewhere, and the tables that hold their neurons. No rules.
from neuron_descriptions.descriptions.given import read_given

try:
    GIVEN = {}  # layer -> their rows
    if CFG.scores.descriptions is not None:
        for row in read_given(
            found(CFG.scores.descriptions, "scores.descriptions", HOME),
            CFG.subject.layers,
            CFG.features_per_layer,
        ):
            GIVEN.setdefault(row["layer"], []).append(row)
        GIVEN = dict(sorted(GIVEN.items()))
except ValueError as error:
    raise WorkflowError(str(error)) from None


def given_neurons(wildcards):
    """Neurons of a layer that descriptions from elsewhere are of."""
    return sorted({row["neuron"] for row in GIVEN.get(int(wildcards.layer), [])})


def given_tables(path):
    """Input function: the tables that hold those."""

    def files(wildcards):
        layer = int(wildcards.layer)
        parts = KEPT.holding(layer, given_neurons(wildcards))
        return [path.format(layer=layer, part=part) for part in parts]

    return files


def given_scores(wildcards):
    """Scores of all layers that descriptions from elsewhere are of."""
    if not GIVEN:
        raise WorkflowError(
            "scores.descriptions names no file: there is nothing to score"
        )
    return [f"<results>/given/layer-{layer}/scores.parquet" for layer in GIVEN]


GIVEN_CORPUS = CORPUS
if IMPORTED:
    GIVEN_CORPUS = {split: given_tables(path) for split, path in PART_CORPUS.items()}
