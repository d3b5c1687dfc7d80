# Simulators and nulls: what scoring needs and depends on. No rules.
from functools import cache

from neuron_descriptions.scores.chance import pool_neurons
from neuron_descriptions.simulators.asked_prompts import read_asked_template

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
        "panel_token_lists",
        "scorers",
    ],
)


def simulator_prompt(simulator=CFG.scores.simulator, key="scores.simulator"):
    """The prompt file, where the simulator needs one; key: of its section."""
    if simulator is None or simulator.kind not in ("prompted", "asked"):
        return {}
    path = project_file(simulator.prompt, f"{key}.prompt")
    if simulator.kind == "asked":
        try:
            read_asked_template(path, f"{key}.prompt")
        except ValueError as error:
            raise WorkflowError(f"{key}.prompt: {error}") from None
    return {"prompt": path}


def simulator_folder(simulator=CFG.scores.simulator):
    """The folder of its weights or tokenizer, where it has one here."""
    model = simulator and simulator.local_model()
    return model_folder(model) if model else []


def of_simulator(simulator=CFG.scores.simulator):
    """A simulator's settings, without what decides no prediction."""
    said = tracked(simulator, exclude=["prompt", "client"])
    if simulator.client is None:
        return said
    return said | {"client": tracked(simulator.client, exclude=ACCESS_KEYS)}


def simulating_without(*simulators):
    """Modules that jobs of these simulators do not load: clients that none of them asks."""
    asked = {s.client.client for s in simulators if s is not None and s.client}
    others = [f"clients/{client}" for client in clients() if client not in asked]
    return (
        others
        if asked
        else [
            *others,
            "simulators/asked",
            "simulators/asked_prompts",
            "clients/opening",
            "clients/journal",
        ]
    )


def simulator_weights(simulator=CFG.scores.simulator):
    """What subject and simulator hold, for params."""
    return weights(CFG.subject.model, simulator and simulator.local_model())


def simulator_environment(simulator=CFG.scores.simulator):
    """The environment of a simulator's jobs."""
    client = getattr(simulator, "client", None)
    if client is None:
        return "../envs/models.yaml"
    name = "judges" if client.remote else client.environment()
    return f"../envs/{name}.yaml"


def simulator_access(part, simulator=CFG.scores.simulator):
    """What no prediction of a client depends on; None where none is asked. part: whose requests these are."""
    if simulator is None or simulator.client is None:
        return None
    access = simulator.client.model_dump(include=set(ACCESS_KEYS))
    folder = f"results/{CFG.run}/requests"
    return access | {"requests": folder, "part": f"simulated/{part}"}


NOT_SIMULATED_WITH = simulating_without(CFG.scores.simulator)
# An endpoint that simulates: one machine asks, without a GPU.
ASKS_SIMULATOR = getattr(CFG.scores.simulator, "remote", False)


def screened_table():
    """What a smaller simulator found of a part's candidates, where there is one."""
    if CFG.scores.screen is None:
        return {}
    return {"screened": "<results>/scores/layer-{layer}/screened-{part}.parquet"}


@cache
def null_neurons():
    """Layer -> neurons whose descriptions the nulls are drawn from."""
    return pool_neurons(SELECTED, CFG.scores.null_neurons, CFG.seed)


def null_tables(path, chunks=DESCRIBED):
    """Input function: the tables that hold those."""
    return lambda wildcards: [
        path.format(layer=layer, part=part)
        for layer, neurons in null_neurons().items()
        for part in chunks.holding(layer, neurons)
    ]


def null_texts():
    """The texts of their train exemplars."""
    if IMPORTED:
        return null_tables(PART_CORPUS["train"], KEPT)
    return [CORPUS["train"]]


def null_pool(wildcards):
    """The run's pool of nulls; a neuron alone waits for no run: it takes the pool where that is made."""
    if not CFG.scores.nulls:
        return []
    made = is_made(NULL_POOL)
    return NULL_POOL if wildcards.get("part", "").startswith("chunk") or made else []


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
def predicting(simulator):
    """The same of any simulator."""
    apart = simulating_without(simulator)
    code = digest("neuron_descriptions/simulators/opening.py", without=apart)
    return [code, simulator_weights(simulator)]


def kept_predictions(part, simulator=CFG.scores.simulator):
    """Where a part's predictions are kept, so that other statistics simulate nothing again, and how a client is asked
    for them; no result depends on it."""

    def kept(wildcards, threads):
        of = part.format(**dict(wildcards.items()))
        path = f"results/{CFG.run}/predictions/{of}.bin"
        found = {"path": path, "made_by": predicting(simulator)}
        return found | {"access": simulator_access(of, simulator)}

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
