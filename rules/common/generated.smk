# Texts written from descriptions: what they need and depend on. No rules.
from neuron_descriptions.config.scorers import Generated
from neuron_descriptions.scores.writer_prompts import read_writer_template

GENERATING = [name for name, s in SCORERS.items() if isinstance(s, Generated)]
# Those whose writer is an endpoint; all others write where models are.
ASKED_TO_WRITE = [name for name in GENERATING if SCORERS[name].writer.remote]
WRITING = [name for name in GENERATING if name not in ASKED_TO_WRITE]
WRITTEN_TEXTS = "<results>/generated/{scorer}/layer-{layer}/texts-{part}.parquet"
# Imported exemplars name no length, and no template.
TEXTS_CUT = {
    "seq_len": CFG.corpus.seq_len if CFG.corpus else 256,
    "chat_prefix": CFG.corpus.chat_prefix if CFG.corpus else True,
}
READ_AT_ONCE = getattr(CFG.exemplars, "batch_size", 8)


def writer_prompt(name):
    """A writer's prompt file, tried out before any job starts."""
    path = project_file(SCORERS[name].prompt, f"scores.scorers.{name}.prompt")
    try:
        read_writer_template(path)
    except ValueError as error:
        raise WorkflowError(f"scores.scorers.{name}.prompt: {error}") from None
    return path


WRITER_PROMPTS = {name: writer_prompt(name) for name in GENERATING}


def writer_model(name):
    """Name of the model whose weights or tokenizer a writer needs, if any."""
    return SCORERS[name].writer.local_model()


def writer_folder(wildcards):
    """Its folder."""
    model = writer_model(wildcards.scorer)
    return model_folder(model) if model else []


def writer_environment(wildcards):
    """The environment of a writer that is no endpoint."""
    return f"../envs/{SCORERS[wildcards.scorer].writer.environment()}.yaml"


def of_writing(wildcards):
    """A scorer's settings, without what decides no text."""
    section = SCORERS[wildcards.scorer]
    said = tracked(section, exclude=["writer", "prompt", "others"])
    return said | {"writer": tracked(section.writer, exclude=ACCESS_KEYS)}


def unused(wildcards):
    """Modules of clients that a job does not load."""
    used = SCORERS[wildcards.scorer].writer.client
    return [f"clients/{client}" for client in clients() if client != used]


def writer_access(wildcards, threads):
    """What no text depends on: made from `threads`, Snakemake does not compare it."""
    return SCORERS[wildcards.scorer].writer.model_dump(include=set(ACCESS_KEYS))


def prices_of_writer(wildcards):
    """What a writer costs; null where nobody counts."""
    prices = getattr(SCORERS[wildcards.scorer].writer, "prices", None)
    return None if prices is None else prices.model_dump()


def written_texts(wildcards):
    """Input function: texts of all chunks."""
    return all_chunks(WRITTEN_TEXTS.replace("{scorer}", wildcards.scorer))


def generated_inputs():
    """What a scorer reads of texts; nothing where it reads none, and for a neuron alone, before any run."""

    def file(name):
        def of(wildcards):
            made = wildcards.get("part", "").startswith("chunk")
            if wildcards.scorer not in GENERATING or not made:
                return []
            path = f"<results>/generated/{wildcards.scorer}/{name}"
            return path.format(layer=wildcards.layer, part=wildcards.part)

        return of

    if not GENERATING:
        return {}
    return {
        "texts": file("layer-{layer}/texts-{part}.parquet"),
        "others": file("others.parquet"),
        "peaks": file("layer-{layer}/peaks.parquet"),
    }


# What a run's texts took, for its targets.
TEXT_ACCOUNTS = [
    f"<results>/generated/{name}/accounting.parquet" for name in GENERATING
]
