# Written descriptions that an explainer learns. No rules.
from neuron_descriptions.descriptions.given import read_given


def written_descriptions(path, layers):
    """Rows of the file, of neurons that the run keeps exemplars of. layers: those that count; None: all."""
    key = "explainer_training.readings"
    size = CFG.subject.layers, CFG.subject.neurons_per_layer
    try:
        rows = read_given(found(path, key, HOME), *size, key)
        rows = [row for row in rows if layers is None or row["layer"] in layers]
        if not rows:
            raise ValueError(f"{key}_layers: {path} describes no neuron of {layers}")
        for row in rows:
            if row["neuron"] not in KEPT.neurons.get(row["layer"], []):
                raise ValueError(
                    f"{key}: {path} describes layer {row['layer']}, neuron {row['neuron']}, which the run keeps no"
                    " exemplars of; name it in exemplars.neurons"
                )
    except ValueError as error:
        raise WorkflowError(str(error)) from None
    return rows


# A further param, only where there are some.
READINGS = {}
if CFG.explainer_training.readings is not None:
    READINGS["readings"] = written_descriptions(
        CFG.explainer_training.readings, CFG.explainer_training.readings_layers
    )
