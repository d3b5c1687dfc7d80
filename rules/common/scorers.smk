# Further scorers: what each needs and depends on. No rules.
from neuron_descriptions.config.scorers import ASKED as ASKED_KEYS
from neuron_descriptions.config.scorers import scorers as scorer_kinds
from neuron_descriptions.scores.questions import read_judge_template

SCORERS = CFG.scores.scorers
# Library modules of the kinds of scorers, by kind.
SCORER_MODULES = {kind: f"scores/{kind}" for kind in scorer_kinds()}


def judge_of(name):
    """The section of the model that a scorer asks, if it asks one."""
    return getattr(SCORERS[name], "judge", None)


# Those that ask an endpoint; all others run where models are.
ASKING = [name for name in SCORERS if getattr(judge_of(name), "remote", False)]
RUNNING = [name for name in SCORERS if name not in ASKING]


def judge_prompt(name):
    """A judge's prompt file, tried out before any job starts."""
    path = project_file(SCORERS[name].prompt, f"scores.scorers.{name}.prompt")
    try:
        read_judge_template(path)
    except ValueError as error:
        raise WorkflowError(f"scores.scorers.{name}.prompt: {error}") from None
    return path


JUDGE_PROMPTS = {name: judge_prompt(name) for name in SCORERS if judge_of(name)}


def judge_model(name):
    """Name of the model whose weights or tokenizer a judge needs, if any."""
    return judge_of(name).local_model() if judge_of(name) else None


def judge_folder(wildcards):
    """Its folder."""
    model = judge_model(wildcards.scorer)
    return model_folder(model) if model else []


def of_scorer(wildcards):
    """A scorer's settings, without what decides nothing."""
    section = SCORERS[wildcards.scorer]
    said = tracked(section, exclude=["judge", "prompt", "writer"])
    asked = {key: getattr(section, key, None) for key in ASKED_KEYS}
    return said | {
        key: tracked(one, exclude=ACCESS_KEYS) for key, one in asked.items() if one
    }


def modules_apart(wildcards):
    """Modules that a scorer's job does not load: other scorers and other clients."""
    kind, judge = SCORERS[wildcards.scorer].kind, judge_of(wildcards.scorer)
    others = {f"clients/{client}" for client in clients()}
    others -= {f"clients/{judge.client}"} if judge else set()
    return others | {m for other, m in SCORER_MODULES.items() if other != kind}


def scorer_access(wildcards, threads):
    """Of the judge's section what no score depends on: made from `threads`, Snakemake does not compare it."""
    judge = judge_of(wildcards.scorer)
    return judge.model_dump(include=set(ACCESS_KEYS)) if judge else {}


def scorer_environment(wildcards):
    """The environment of a scorer that asks no endpoint."""
    judge = judge_of(wildcards.scorer)
    return f"../envs/{judge.environment() if judge else 'models'}.yaml"


def what_was_chosen(wildcards):
    """The table that says which candidate was chosen; nothing, for the scorer that chooses."""
    return (
        []
        if wildcards.scorer == CFG.choice
        else part_table(TABLES["scores"])(wildcards)
    )


def predictions_of_part(wildcards):
    """A part's predictions, where there is a simulator."""
    return part_table(TABLES["simulations"])(wildcards) if SIMULATED else []


def shared_predictions(wildcards):
    """Predictions of a layer's descriptions on the text that they share, for the scorer that compares them; nothing for
    others, and for a neuron alone, before any run."""
    if SCORERS[wildcards.scorer].kind != "collisions" or wildcards.part[:5] != "chunk":
        return []
    return parts_of_layer(NATURAL_SHARED)(wildcards)


def scorer_parts(wildcards):
    """Input function: a part's tables of all scorers."""
    paths = (SCORER_TABLE.replace("{scorer}", name) for name in SCORERS)
    return [part_table(path)(wildcards) for path in paths]


def scorer_tables():
    """Tables of all scorers and chunks."""
    paths = (SCORER_TABLE.replace("{scorer}", name) for name in SCORERS)
    return [table for path in paths for table in all_chunks(path)]


# Of the simulation's settings: those that scorers share.
SCORER_NUMBERS = tracked(
    CFG.scores, include=["top", "middle", "bootstrap", "confidence"]
)
