# Simulators and nulls: what scoring needs and depends on. No rules.
from functools import cache

from neuron_descriptions.scores.chance import pool_neurons

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
    if simulator.kind != "prompted":
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


PROBE = "<results>/scores/probe.json"
PROBE_RULES = project_file("config/training/rules.yaml", "the rules of the probe")


def probed(wildcards):
    """Scoring waits for the probe; a neuron alone, before any run, does without. Not `ancient`: while a probe is to be
    made again, Snakemake would look for no other reason to score again."""
    return [] if wildcards.get("part", "").startswith("neuron") else PROBE


# What predictions depend on, beyond what their descriptions, sequences and simulator are.
def predicting(model):
    """The same of any simulator."""
    code = digest("neuron_descriptions/simulators/opening.py")
    return [code, weights(CFG.subject.model, model)]


def kept_predictions(part, model=CFG.scores.simulator.model):
    """Where a part's predictions are kept, so that other statistics simulate nothing again; no result depends on it.
    model: the simulator's."""

    def kept(wildcards, threads):
        path = f"results/{CFG.run}/predictions/{part.format(**dict(wildcards.items()))}.bin"
        return {"path": path, "made_by": predicting(model)}

    return kept  # made from `threads`: Snakemake does not compare it
