# What a run is compared with, and where that one's activations stand. No rules.

# The panel that no description was fitted on.
COMPARED_TEXT = "<evidence>/corpus/panel_test.parquet"
COMPARED_ACTS = "<evidence>/panel/panel_test/layer-{layer}.safetensors"
OTHER = (CFG.diff.model or CFG.diff.run) if CFG.diff else None
OTHER_ACTS = (
    f"<results>/diff/{getattr(CFG.diff, 'model', None)}/layer-{{layer}}.safetensors"
)
# Put behind the other subject's configuration: it describes the changed features alone, from text of its own.
DESCRIBING_CHANGES = {
    "run": f"{OTHER}-changed",
    "evidence": None,
    "diff": None,
    **(
        {"subject": {"model": CFG.diff.model}}
        if getattr(CFG.diff, "model", None)
        else {}
    ),
    "neurons": {
        "layers": "all",
        "indices": "all",
        "file": f"results/{CFG.run}/diff/neurons.csv",
    },
    "exemplars": {"neurons": None},
}


def compared():
    """The section `diff`."""
    if CFG.diff is None:
        raise ValueError(
            "the configuration has no section `diff`, which names the model or run to compare with; see config/README.md"
        )
    return CFG.diff


def other_model(wildcards):
    """The other model's folder."""
    return model_folder(compared().model)


def of_other_run(path):
    """A file of the other run's panel. Raises ValueError where that run lacks what this one has."""
    file = path.replace("<evidence>", f"results/{CFG.diff.run}")
    if not is_made(file):
        raise ValueError(
            f"diff.run: the run {CFG.diff.run} has no {file}, whose like the run {CFG.run} has: finish it with the same"
            " `panel` and the same neurons kept; where its `evidence` names another run, name that one"
        )
    return file


def other_text(wildcards):
    """The panel that the other subject read."""
    return of_other_run(COMPARED_TEXT) if compared().run else COMPARED_TEXT


def other_acts(wildcards):
    """The other subject's activations, by layer."""
    if compared().run is None:
        return [OTHER_ACTS.format(layer=layer) for layer in KEPT.neurons]
    return [of_other_run(COMPARED_ACTS.format(layer=layer)) for layer in KEPT.neurons]
