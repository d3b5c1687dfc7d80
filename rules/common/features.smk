# Features that files give: where these are, and what rules that read them depend on. No rules.
from neuron_descriptions.config.sources import spec_key
from neuron_descriptions.run.fingerprints import texts_fingerprint

# Whether the features of a layer stand in a file.
PLACED = getattr(CFG.features, "path", None) is not None
# Of a section what decides no activation.
DESCRIBED_BY = ["min_firings"]
FEATURES_NAME = f"{CFG.features.kind}-{spec_key(CFG.features, *DESCRIBED_BY)}"
FROM_HUB = getattr(CFG.features, "repo", None) is not None
PUBLISHED_DICTIONARY = (
    f"<resources>/dictionaries/published/{FEATURES_NAME}/layer-{{layer}}"
)
DICTIONARY = "<resources>/dictionaries/{dictionary}/layer-{layer}.safetensors"
# Of the kinds of features, each run's harvest depends on one.
OTHER_SOURCES = {
    "mlp_neurons": ["features/dictionaries", "features/heads", "features/planted"],
    "attention_heads": ["features/planted"],
    "planted": ["features/dictionaries", "features/heads"],
}.get(CFG.features.kind, ["features/heads", "features/planted"])
WITHOUT_GATES = [] if getattr(CFG.exemplars, "gates", False) else ["features/gates"]

if PLACED and "{layer}" not in CFG.features.path and len(KEPT.neurons) > 1:
    raise WorkflowError(
        f"features.path: {CFG.features.path} gives the features of one layer, but neurons.layers names"
        f" {len(KEPT.neurons)}: put {{layer}} into the path, or name one layer"
    )


def block_layers(wildcards):
    """Layers that a job of the harvest reads."""
    return LAYOUT.block_neurons(wildcards.block)


def features_file(layer):
    """A layer's features as they were published: a file or a folder of the user's."""
    try:
        return found(CFG.features.place(layer), "features.path", HOME)
    except ValueError as error:
        raise WorkflowError(str(error)) from None


def published_features(wildcards):
    """What is converted: the user's own, or what was fetched."""
    if FROM_HUB:
        return PUBLISHED_DICTIONARY.format(layer=wildcards.layer)
    return ancient(local(features_file(wildcards.layer)))


def features_content(layer):
    """What a layer's features are made of, beyond the configuration: what their file or folder holds, at any depth;
    of the hub's the revision says it."""
    if FROM_HUB:
        return digest("fetch_dictionary.py")
    place = features_file(layer)
    return texts_fingerprint(f"{place}/**/*" if Path(place).is_dir() else place)


def converted_features(layers):
    """Input function: features of the layers that `layers` gives for a job's wildcards, in their order. Not `ancient`:
    while they are to be converted again, Snakemake would look for no other reason to run.
    """
    if not PLACED:
        return []
    return lambda wildcards: [
        DICTIONARY.format(dictionary=FEATURES_NAME, layer=layer)
        for layer in layers(wildcards)
    ]


def feature_params(layers):
    """Params of a rule whose result depends on the features of some layers; none where neurons are described, which
    other params tell all of. layers: as `converted_features` takes it."""
    if not (said := tracked(CFG.features, exclude=DESCRIBED_BY)):
        return {}
    content = lambda wildcards: [features_content(layer) for layer in layers(wildcards)]
    return {"features": said, **({"dictionaries_hold": content} if PLACED else {})}


def subject_names():
    """Names that the subject goes by, for what was made for it."""
    names, name = [], CFG.subject.model
    while name is not None:
        spec = CFG.models[name]
        places = (getattr(spec, key, None) for key in ("repo", "path", "package"))
        names += [name, *(place for place in places if place)]
        name = getattr(spec, "base", None)
    return names


def firings_needed():
    """How often a feature has to fire to be described, where its kind can be silent; for params."""
    least = getattr(CFG.features, "min_firings", 0)
    return {"min_firings": least} if least else {}


if PLACED and not FROM_HUB:
    for layer in KEPT.neurons:
        features_file(layer)
