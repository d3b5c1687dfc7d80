# Explainers and their prompts: what describing needs and depends on. No rules.
from neuron_descriptions.config.explainers import ACCESS_KEYS, clients
from neuron_descriptions.descriptions.prompts import (
    read_explainer_template,
    read_templates_of_types,
)

# None: no model is asked.
EXPLAINER = CFG.descriptions.explainer if CFG.descriptions.candidates else None
REMOTE = EXPLAINER is not None and EXPLAINER.remote
# Of the clients, each run's descriptions depend on one.
OTHER_CLIENTS = set(clients()) - {getattr(EXPLAINER, "client", None)}
NOT_DESCRIBED_WITH = [f"clients/{client}" for client in OTHER_CLIENTS]
if not CFG.descriptions.prompts_by_type:
    NOT_DESCRIBED_WITH.append("panel/reading")
EXPLAINER_MODEL = EXPLAINER.local_model() if EXPLAINER else None


def explainer_folder():
    """The folder of the explainer's weights or tokenizer, where it has one."""
    return {"explainer": model_folder(EXPLAINER_MODEL)} if EXPLAINER_MODEL else {}


def explainer_prompt():
    """The explainer's prompt file."""
    return explainer_prompts()["prompt"]


def explainer_prompts():
    """The explainer's prompt files, the usual one and those of types, tried out before any job starts."""
    path = project_file(CFG.descriptions.prompt, "descriptions.prompt")
    of_types = {
        kind: project_file(file, f"descriptions.prompts_by_type.{kind}")
        for kind, file in CFG.descriptions.prompts_by_type.items()
    }
    few_shot = CFG.descriptions.few_shot
    begins = EXPLAINER is None or bool(explainer_folder())  # or nobody is asked
    try:
        usual = read_explainer_template(path, few_shot, begins)
        read_templates_of_types(of_types, few_shot, begins, usual)
    except ValueError as error:
        raise WorkflowError(str(error)) from None
    return {"prompt": path} | {f"prompt_{kind}": of_types[kind] for kind in of_types}


def told_types():
    """Types of a layer's neurons, and the panel that such prompts quote: where types have prompts."""
    if not CFG.descriptions.prompts_by_type:
        return {}
    types = lambda wildcards: TYPES_TABLE if in_panel(wildcards) else []
    return {"types": types, **panel_of_layer("panel")}


def found_concepts():
    """The lists of concepts of a part, where these are candidates."""
    if not CFG.descriptions.concept_candidates:
        return {}
    return {"concepts": "<results>/concepts/layer-{layer}/found-{part}.parquet"}


def panel_of_layer(panel):
    """A panel's text and a layer's activations on it, where there is a panel that has a part's neurons."""
    if not CFG.panel:
        return {}
    files = {
        panel: f"<evidence>/corpus/{panel}.parquet",
        f"{panel}_acts": f"<evidence>/panel/{panel}/layer-{{layer}}.safetensors",
    }
    return {
        name: lambda wildcards, file=file: file if in_panel(wildcards) else []
        for name, file in files.items()
    }


def in_panel(wildcards):
    """Whether the panel has a part's neurons: those of chunks, and single ones that are kept."""
    layer = int(wildcards.layer)
    neurons = LAYOUT.neurons(DESCRIBED, layer, part_of(wildcards))
    return {*neurons} <= {*KEPT.neurons.get(layer, ())}


# What candidates and their prompts depend on.
DESCRIBING = tracked(
    CFG.descriptions,
    exclude=["explainer", "prompt", "draws", "rivals", "concept_rules", "concept_fit"],
)
# What no description depends on: keys of the explainer's section, and where what was asked is kept.
ACCESS = EXPLAINER.model_dump(include=set(ACCESS_KEYS)) if EXPLAINER else {}
REQUESTS = f"results/{CFG.run}/requests"
ASKED = tracked(EXPLAINER, exclude=ACCESS_KEYS) if EXPLAINER else None

# Candidates of this run's explainer; with rivals, these and theirs make up the descriptions.
RIVALS = CFG.descriptions.rivals
WRITTEN = TABLES["descriptions"]
if RIVALS:
    WRITTEN = "<results>/descriptions/own/layer-{layer}/{part}.parquet"


def rival_tables(wildcards):
    """Descriptions of a part by the rivals, which are made before."""
    paths = (
        TABLES["descriptions"].replace("<results>", f"results/{run}") for run in RIVALS
    )
    return [part_table(path)(wildcards) for path in paths]
