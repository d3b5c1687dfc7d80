# Simulators and nulls: what scoring needs and depends on. No rules.
from functools import cache

from neuron_descriptions.scores.chance import pool_neurons

# Whether a simulator makes scores.
SIMULATED = CFG.scores.simulator is not None
SCORER_TABLE = "<results>/scorers/{scorer}/layer-{layer}/{part}.parquet"
NULL_POOL = "<results>/descriptions/null-pool.parquet"
SCORING = tracked(
    CFG.scores,
    exclude=[
        "simulator",
        "probe",
        "screen",
        "null_neurons",
        "null_descriptions",
        "descriptions",
        "natural",
        "pool_nulls",
        "scorers",
    ],
)


def simulator_prompt(simulator=CFG.scores.simulator, key="scores.simulator"):
    """The few-shot file, where the simulator needs one; key: of its section."""
    if simulator is None or simulator.kind != "prompted":
        return {}
    return {"prompt": project_file(simulator.prompt, f"{key}.prompt")}


def screened_table():
    """What a smaller simulator found of a part's candidates, where there is one."""
    if CFG.scores.screen is None:
        return {}
    return {"screened": "<results>/scores/layer-{layer}/screened-{part}.parquet"}


@cache
def null_neurons():
    """Layer -> neurons whose descriptions the nulls are drawn from."""
    return pool_neurons(SELECTED, CFG.scores.null_neurons, CFG.seed)


def null_tables(path):
    """Input function: the tables that hold those."""
    return lambda wildcards: [
        path.format(layer=layer, part=part)
        for layer, neurons in null_neurons().items()
        for part in DESCRIBED.holding(layer, neurons)
    ]


def null_pool(wildcards):
    """The run's pool of nulls; a neuron alone waits for no run: it takes the pool where that is made."""
    if not CFG.scores.nulls:
        return []
    made = is_made(NULL_POOL)
    return NULL_POOL if wildcards.get("part", "").startswith("chunk") or made else []


def simulator_model():
    """The folder of the simulator's weights, where there is one."""
    model = getattr(CFG.scores.simulator, "model", None)
    return {"simulator": model_folder(model)} if model else {}


PROBE = "<results>/scores/probe.json"
NULL_DESCRIPTIONS = project_file(
    CFG.scores.null_descriptions, "scores.null_descriptions"
)
PROBE_RULES = project_file("config/training/rules.yaml", "the rules of the probe")


def probe_file():
    """What the simulator's probe found, where there is one."""
    return {"probe": PROBE} if SIMULATED else {}


def probed(wildcards):
    """Scoring waits for the probe; a neuron alone, before any run, does without. Not `ancient`: while a probe is to be
    made again, Snakemake would look for no other reason to score again."""
    return [] if wildcards.get("part", "").startswith("neuron") else PROBE


# What predictions depend on, beyond what their descriptions, sequences and simulator are.
def predicting(model):
    """The same of any simulator."""
    code = digest("neuron_descriptions/simulators/opening.py")
    return [code, weights(CFG.subject.model, model)]


def kept_predictions(part, model=getattr(CFG.scores.simulator, "model", None)):
    """Where a part's predictions are kept, so that other statistics simulate nothing again; no result depends on it.
    model: the simulator's."""

    def kept(wildcards, threads):
        path = f"results/{CFG.run}/predictions/{part.format(**dict(wildcards.items()))}.bin"
        return {"path": path, "made_by": predicting(model)}

    return kept  # made from `threads`: Snakemake does not compare it


# Without a simulator there are no predictions.
if not SIMULATED:
    del TABLES["simulations"]


def choice_inputs():
    """What tells which candidate is chosen, without a simulator."""
    if CFG.choice == "concepts":
        return found_concepts() | {"rules": concept_rules()}
    if CFG.choice in CFG.scores.scorers:
        return {
            "judged": part_table(SCORER_TABLE.replace("{scorer}", CFG.choice)),
        }
    return {}
