# Which tables of scores on text as it comes belong together. No rules.

# Whether the run has such scores.
HAS_NATURAL = SIMULATED and None not in (CFG.panel, CFG.scores.natural)
NATURAL = "<results>/natural/layer-{layer}.parquet"


NATURAL_SCORES = "<results>/natural/layer-{layer}/scores-{part}.parquet"
NATURAL_SHARED = "<results>/natural/layer-{layer}/shared-{part}.parquet"
# Nulls that are no feature's description.
NATURAL_NULLS = "<results>/natural/nulls.parquet"


def parts_of_layer(path):
    """Input function: a layer's tables, of all its chunks."""

    def files(wildcards):
        layer = int(wildcards.layer)
        return [path.format(layer=layer, part=part) for part in DESCRIBED.names(layer)]

    return files


def natural_of_layer():
    """A layer's table, for the rules of a chunk; where the run has none, nothing."""
    return {"natural": NATURAL} if HAS_NATURAL else {}


# Scores of a layer, whose nulls are pooled; nothing, where each neuron has its own.
POOLED = parts_of_layer(TABLES["scores"]) if SIMULATED and CFG.scores.pool_nulls else []


def natural_of_neuron(wildcards):
    """Of one neuron, whose page waits for no run: its own scores, without what others have; nothing, where the panel
    has no activations of it."""
    return (
        part_table(NATURAL_SCORES)(wildcards)
        if HAS_NATURAL and in_panel(wildcards)
        else []
    )
