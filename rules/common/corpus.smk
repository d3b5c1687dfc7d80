# Texts: their settings and files, and whether the subject can read them. No rules.
from neuron_descriptions.common.places import text_files
from neuron_descriptions.config.sources import spec_key
from neuron_descriptions.models.gguf import described
from neuron_descriptions.models.subjects import check_described, check_subject
from neuron_descriptions.run.fingerprints import texts_fingerprint

for name, spec in CFG.corpus.sources.items():
    if spec.source == "path":
        try:
            text_files(found(spec.path, f"corpus.sources.{name}.path", HOME))
        except ValueError as error:
            said = str(error).removeprefix(f"corpus.sources.{name}.path: ")
            raise WorkflowError(f"corpus.sources.{name}.path: {said}") from None

TEXTS = {
    f"{name}-{spec_key(spec, 'ratio')}-seed-{CFG.seed}": spec
    for name, spec in CFG.corpus.sources.items()
}


def text_spec(name):
    """A text source's settings, as its job needs them: local files where they are."""
    spec = tracked(TEXTS[name], exclude=["ratio"])
    if spec["source"] == "path":
        spec["path"] = find(spec["path"], HOME) or spec["path"]
    return spec


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
        if getattr(CFG.models[name], "layers", None):
            return  # it has fewer layers than its base, and is not there before it is made
        name = CFG.models[name].base  # of the same shape
    folder = PATHVARS.apply(model_folder(name))
    there = Path(folder, "config.json").is_file()
    if CFG.corpus is None or not (there or name in GGUF_HEADERS):
        return
    longest = max(CFG.corpus.seq_len, getattr(CFG.panel, "seq_len", None) or 0)
    asked = CFG.subject.layers, longest, CFG.subject.module
    try:
        if name in GGUF_HEADERS:
            said = described(GGUF_HEADERS[name])
            check_described(said, CFG.models[name].path, *asked)
        else:
            check_subject(folder, *asked)
    except ValueError as error:
        raise WorkflowError(f"models.{name}: {error}") from None
