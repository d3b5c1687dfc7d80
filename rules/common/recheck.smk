# What a recheck of the finished run reads. No rules.
from neuron_descriptions.atlas.agreement import draw_neurons

RECHECKED = draw_neurons(SELECTED, CFG.recheck.neurons, CFG.recheck.seed)
# Files of each layer, by name.
RECHECK_FILES = {
    "exemplars": (EVIDENCE["exemplars"], KEPT),
    "statistics": (EVIDENCE["statistics"], KEPT),
    "written": (WRITTEN, DESCRIBED),
    **{name: (path, DESCRIBED) for name, path in TABLES.items()},
    **{name: (path, DESCRIBED) for name, path in found_concepts().items()},
}
if CFG.descriptions.concept_candidates:
    RECHECK_FILES["concept_scores"] = (CONCEPT_TABLE, DESCRIBED)
if not SIMULATED and CFG.choice in SCORERS:
    RECHECK_FILES["judged"] = (SCORER_TABLE.replace("{scorer}", CFG.choice), DESCRIBED)

# Those that are of whole layers.
LAYER_FILES = {}
if CFG.panel:
    LAYER_FILES["types"] = TYPES_TABLE
if CFG.descriptions.prompts_by_type:
    LAYER_FILES["panel"] = "<evidence>/corpus/panel.parquet"
    LAYER_FILES["panel_acts"] = "<evidence>/panel/panel/layer-{layer}.safetensors"
if HAS_NATURAL:
    LAYER_FILES["natural"] = NATURAL
if SIMULATED and CFG.scores.pool_nulls:
    LAYER_FILES["pooled"] = TABLES["scores"]


def recheck_simulator():
    """The folder of the simulator's weights, where there is one. What was asked of a client is not asked again."""
    if CFG.scores.simulator is None:
        return {}
    if CFG.scores.simulator.client is None:
        return {"simulator": simulator_folder()}

    def refused(wildcards):
        raise ValueError(
            "recheck: scores.simulator asks a client, whose answers are not asked for again; there is no recheck of such a"
            " run"
        )

    return {"simulator": refused}


def rules_of_choice():
    """The words that lists of concepts know, where these choose."""
    if SIMULATED or CFG.choice != "concepts":
        return {}
    return {"rules": choice_inputs()["rules"]}


def recheck_files():
    """Inputs by name and layer: the tables that hold the drawn neurons, and their corpus."""
    paths = dict(RECHECK_FILES)
    if IMPORTED:
        paths |= {split: (path, KEPT) for split, path in PART_CORPUS.items()}
    found = {
        f"{name}_{layer}": [
            path.format(layer=layer, part=part)
            for part in chunks.holding(layer, neurons)
        ]
        for layer, neurons in RECHECKED.items()
        for name, (path, chunks) in paths.items()
    }
    found |= {
        f"{name}_{layer}": [
            path.format(layer=layer, part=part)
            for part in (DESCRIBED.names(layer) if "{part}" in path else [None])
        ]
        for layer in RECHECKED
        for name, path in LAYER_FILES.items()
    }
    if not IMPORTED:
        found |= {
            f"{split}_{layer}": path
            for layer in RECHECKED
            for split, path in CORPUS.items()
        }
    return found
