# Which tables of scores on text as it comes belong together. No rules.

# Whether the run has such scores.
HAS_NATURAL = CFG.panel is not None and CFG.scores.natural is not None
NATURAL = "<results>/natural/layer-{layer}.parquet"


def natural_tables(name):
    """Input function: a layer's tables, of all its chunks."""
    path = f"<results>/natural/layer-{{layer}}/{name}-{{part}}.parquet"
    return lambda wildcards: [
        path.format(layer=wildcards.layer, part=part)
        for part in DESCRIBED.names(int(wildcards.layer))
    ]


def natural_nulls(wildcards):
    """Predictions by the descriptions that the nulls are drawn from."""
    return [
        f"<results>/natural/layer-{layer}/shared-{part}.parquet"
        for layer, neurons in null_neurons().items()
        for part in DESCRIBED.holding(layer, neurons)
    ]


def natural_of_layer():
    """A layer's table, for the rules of a chunk; where the run has none, nothing."""
    return {"natural": NATURAL} if HAS_NATURAL else {}


def pooled_scores(wildcards):
    """Scores of a layer, whose nulls are pooled; nothing, where each neuron has its own."""
    if not CFG.scores.pool_nulls:
        return []
    layer = int(wildcards.layer)
    parts = DESCRIBED.names(layer)
    return [TABLES["scores"].format(layer=layer, part=part) for part in parts]


def natural_of_neuron(wildcards):
    """Of one neuron, whose page waits for no run: its own scores, without what others have; nothing, where the panel
    has no activations of it."""
    layer, neuron = int(wildcards.layer), int(wildcards.neuron)
    if not HAS_NATURAL or neuron not in KEPT.neurons.get(layer, []):
        return []
    return part_table("<results>/natural/layer-{layer}/scores-{part}.parquet")(
        wildcards
    )
