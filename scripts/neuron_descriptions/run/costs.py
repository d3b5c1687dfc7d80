"""What a run takes, reckoned before it starts from the configuration alone; what its jobs ask for follows from it.

Every figure is first principles times an assumption of the config's `plan`, and is printed with it: a forward pass
costs 2 operations per parameter and token; a kept activation costs the bytes of its dtype.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from neuron_descriptions.common.logs import logger
from neuron_descriptions.common.storage import whole
from neuron_descriptions.common.vocabulary import SIGNS, SPLITS
from neuron_descriptions.config.sections import (
    Config,
    Corpus,
    Endpoint,
    ExplainerTraining,
    HarvestedExemplars,
    ImportedExemplars,
    S3Exemplars,
    Training,
)
from neuron_descriptions.run.memory import Keep, state_bytes
from neuron_descriptions.run.selection import Chunks

_WIDTH = {"float32": 4, "bfloat16": 2, "float16": 2}
# Tokens of a description, and of what stands around it in a prompt (instructions, headers).
DESCRIPTION, PROMPT = 30, 150
# The prompted simulator writes each token of a sequence as: token, tab, `unknown`, newline.
PROMPTED_TOKENS = 4
# What zstd leaves of stored activations (docs/benchmarks.md: 1.42 of 2 bytes).
COMPRESSED = 0.71
# Sequences that the probe of the simulator takes (scores/probing.py).
PROBED = 144
# Share of the full search that a race of candidates takes (docs/benchmarks.md).
RACE = 1 / 3
# What adapters are of a model.
LORA = 0.02
# Bytes of a description's or a score's row on disk; of one exemplar token on the atlas page.
ROW, SHOWN_TOKEN = 200, 12
# Memory of an import over the bytes that it fetches (docs/benchmarks.md: at least 2.2).
WINDOWS_MEMORY = 3


@dataclass(frozen=True, slots=True)
class Stage:
    """The jobs of one rule. seconds, memory_mb: of one job; everything else: of all of them."""

    rule: str
    jobs: int
    seconds: float
    memory_mb: float
    gpus: int = 0
    read: float = 0  # tokens
    generated: float = 0  # tokens
    fetched: float = 0  # bytes, over the network
    kept: float = 0  # bytes
    temporary: float = 0  # bytes, deleted when used
    endpoint: float = 0  # dollars
    in_turn: bool = False  # one job after another, however many GPUs there are

    def gpu_hours(self) -> float:
        """Of all jobs."""
        return self.gpus * self.jobs * self.seconds / 3600


@dataclass(frozen=True, slots=True)
class Plan:
    """A run's stages in their order, one after the other."""

    stages: list[Stage]
    gpus: int
    gpu_hour: float  # dollars
    assumptions: list[str]
    ceilings: dict[str, float | None] = field(default_factory=dict)

    def totals(self, jobs: Mapping[str, int] | None = None) -> dict[str, float]:
        """GPU hours, dollars and bytes of the whole run, or of so many jobs of each rule."""
        parts = [(s, 1.0 if jobs is None else jobs.get(s.rule, 0) / s.jobs) for s in self.stages if s.jobs]
        gpu_hours = sum(part * s.gpu_hours() for s, part in parts)
        return {
            "gpu_hours": gpu_hours,
            "dollars": gpu_hours * self.gpu_hour + sum(part * s.endpoint for s, part in parts),
            "gigabytes": sum(part * (s.kept + s.temporary) for s, part in parts) / 1e9,
        }

    def critical_path(self, gpus: int) -> float:
        """Hours from start to end with so many GPUs: the stages one after another, the CPU's jobs side by side."""

        def waves(stage: Stage) -> int:
            at_once = 1 if stage.in_turn else max(1, gpus // stage.gpus) if stage.gpus else stage.jobs
            return -(-stage.jobs // max(1, at_once))

        return sum(waves(s) * s.seconds for s in self.stages) / 3600

    def passed(self, jobs: Mapping[str, int] | None = None) -> list[str]:
        """What lies above a ceiling of the config, in words; empty where nothing does."""
        totals = self.totals(jobs)
        return [
            f"{totals[name]:,.4g} {name.replace('_', ' ')} planned, plan.ceilings.{name} is {most:,.4g}"
            for name, most in self.ceilings.items()
            if most is not None and totals[name] > most
        ]

    def text(self) -> str:
        """The plan as a table and its assumptions."""
        head = (
            "stage", "jobs", "min/job", "GPU hours", "tokens read", "generated", "GB fetched", "GB kept", "GB temp.",
            "dollars",
        )  # fmt: skip
        rows = [
            (
                s.rule, f"{s.jobs:,}", f"{s.seconds / 60:,.1f}", _short(s.gpu_hours()), _short(s.read),
                _short(s.generated), _short(s.fetched / 1e9), _short(s.kept / 1e9), _short(s.temporary / 1e9),
                _short(s.endpoint + s.gpu_hours() * self.gpu_hour),
            )
            for s in self.stages
        ]  # fmt: skip
        sums = [sum(getattr(s, name) for s in self.stages) for name in ("jobs", "read", "generated", "fetched", "kept")]
        totals = self.totals()
        temporary = totals["gigabytes"] - sums[4] / 1e9
        rows.append(
            (
                "total", f"{sums[0]:,}", "", _short(totals["gpu_hours"]), _short(sums[1]), _short(sums[2]),
                _short(sums[3] / 1e9), _short(sums[4] / 1e9), _short(temporary), _short(totals["dollars"]),
            )
        )  # fmt: skip
        widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
        table = [
            "  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths)))
            for row in [head, *rows]
        ]
        paths = ", ".join(f"{_short(self.critical_path(n))} h on {n}" for n in sorted({1, self.gpus, 8 * self.gpus}))
        sizes = [
            f"  {s.rule}: a job takes {s.seconds / 60:,.1f} min; {advice}"
            for s in self.stages
            if s.gpus and s.rule != "harvest" and (advice := self._advice(s))
        ]
        passed = self.passed()
        return "\n".join(
            [
                *table,
                "",
                f"From start to end, without waiting for a queue: {paths} GPUs.",
                *(["Job sizes:", *sizes] if sizes else []),
                "Assumptions (config: plan):",
                *(f"  {line}" for line in self.assumptions),
                *(["ABOVE A CEILING, will not start:", *(f"  {line}" for line in passed)] if passed else []),
            ]
        )

    def _advice(self, stage: Stage) -> str:
        if stage.jobs > 1 and stage.seconds < 600:
            several = min(stage.jobs, round(1800 / stage.seconds))
            return f"on a cluster, put {several} chunks in one (chunks_per_job) or enlarge neurons.chunk_size"
        return "lower neurons.chunk_size" if stage.seconds > 6 * 3600 else ""


def write_plan(text: str, path: str) -> None:
    """Log a plan and write it to a file."""
    logger.info("what the run takes:\n%s\n", text)
    with whole(path) as part:
        part.write_text(text + "\n")


def _n_chunks(chunks: Chunks) -> int:
    return sum(len(chunks.names(layer)) for layer in chunks.neurons)


def _short(number: float) -> str:
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:,.3g}{unit}"
    return f"{number:.3g}"


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
        self.chunk_data = self.rows / self.neurons * self.chunk * self.seq_len * 40

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
        return self.rows * self.seq_len * self.width * COMPRESSED


def _harvest_stages(r: _Reckoning, corpus: Corpus, kept: HarvestedExemplars) -> list[Stage]:
    """From text to exemplars: every block of layers reads every sequence."""
    sequences = sum(getattr(corpus.sequences, split) for split in SPLITS)
    tokens = sequences * r.seq_len
    blocks = -(-r.layers // kept.layers_per_job)
    shards = sum(-(-getattr(corpus.sequences, split) // kept.shard_sequences) for split in SPLITS)
    jobs = shards * blocks
    keep = Keep(kept.k, kept.middle, kept.random)
    state = state_bytes(r.neurons, keep, r.seq_len, r.config.subject.dtype) / blocks
    model = r.config.subject.model
    return [
        Stage("fetch_documents", len(corpus.sources), r.reading(tokens / len(corpus.sources), r.p.corpus_tokens),
              r.megabytes(None, 4e9), fetched=4 * tokens, kept=4 * tokens),
        Stage("build_corpus", 1, r.reading(tokens, r.p.corpus_tokens), r.megabytes(None, 16 * tokens), kept=2 * tokens),
        Stage("harvest", jobs, r.model_job(model, tokens * blocks / jobs), r.megabytes(model, 1.25 * state),
              r.config.subject.devices,
              read=tokens * blocks, temporary=jobs * state),
        Stage("merge_exemplars", r.kept_chunks, r.reading(r.rows / r.kept_chunks * shards / len(SPLITS), r.p.rows),
              r.megabytes(None, r.chunk_data * shards / len(SPLITS)), kept=r.exemplar_bytes()),
    ]  # fmt: skip


def _import_stages(r: _Reckoning, kept: ImportedExemplars) -> list[Stage]:
    """Published exemplars instead of a harvest: of every window an activation and a token id, and a source's number."""
    size = r.rows * (8 * r.seq_len + 4)
    fetched = size if isinstance(kept, S3Exemplars) else 0
    # At most: every exemplar brings a sequence of its own, and none is another neuron's too.
    texts = r.rows * r.seq_len * 2
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


def make_plan(config: Config, described: Chunks, kept: Chunks) -> Plan:
    """Reckon a run that describes some neurons and keeps exemplars of these, or more."""
    r, p = _Reckoning(config, described, kept), config.plan

    # Describe.
    d = config.descriptions
    candidates = r.signs * d.candidates
    prompt = (d.evidence_min + d.evidence_max) / 2 * r.seq_len + PROMPT
    answer = (d.max_tokens or 2 * DESCRIPTION) / 2
    remote = isinstance(d.explainer, Endpoint)
    prices = d.explainer.prices if isinstance(d.explainer, Endpoint) else None
    cost = (prompt * prices.prompt + answer * prices.completion) / 1e6 if prices else 0.0
    asked = candidates / r.chunks * (prompt + answer * p.generated_token_cost)
    explain = p.start_seconds + candidates / r.chunks / p.answers if remote else r.model_job(d.explainer.model, asked)
    devices = 0 if remote else getattr(d.explainer, "devices", 1)

    # Score: every candidate and null on valid, of racing candidates a part of that; the chosen candidate and
    # the nulls on test. What the sequences of a description share is read once.
    s = config.scores
    scored = s.top + s.middle + s.random
    per_token = PROMPTED_TOKENS if s.simulator.kind == "prompted" else 1
    row = r.seq_len * per_token + DESCRIPTION / scored
    written = (d.candidates + d.token_candidates + d.concept_candidates) * (
        1 + len(d.rivals)
    )  # of rivals that write as many
    simulated_of_each = written * (RACE if s.race_from and written >= s.race_from else 1) + 1 + 2 * s.nulls
    simulated = r.signs * simulated_of_each * scored * row
    probed = PROBED * (s.probe != "off")
    simulations = r.signs * 2 * scored * r.seq_len * (r.width * COMPRESSED + 4)

    models = [name for name, spec in config.models.items() if spec.source in ("hub", "wheel")]
    adapters = sum(spec.source == "adapter" for spec in config.models.values())
    drawn = [spec.base for spec in config.models.values() if spec.source == "random"]
    weights = sum(2 * r.parameters(name) for name in models)
    if isinstance(config.exemplars, HarvestedExemplars):
        assert config.corpus is not None  # checked with the configuration
        first = _harvest_stages(r, config.corpus, config.exemplars)
    else:
        first = _import_stages(r, config.exemplars)
    shown = r.signs * 2 * config.atlas.exemplars
    stages = [
        Stage("fetch_model", len(models), p.start_seconds + r.download(2 * r.parameters(config.subject.model)),
              r.megabytes(config.subject.model, 0), fetched=weights, kept=weights),
        *([Stage("merge_adapter", adapters, r.model_job(config.scores.simulator.model, 0),
                 r.megabytes(config.scores.simulator.model, 0), kept=adapters * 2 * r.parameters(config.subject.model))]
          if adapters else []),
        *([Stage("randomize_model", len(drawn), r.model_job(drawn[0], 0), 2 * r.megabytes(drawn[0], 0),
                 kept=sum(2 * r.parameters(name) for name in drawn))] if drawn else []),
        *first,
        Stage("describe", r.chunks, explain, r.megabytes(None if remote else d.explainer.model, r.chunk_data), devices,
              read=candidates * prompt, generated=candidates * answer, kept=candidates * ROW,
              endpoint=candidates * cost, in_turn=remote),
        *([Stage("gather_descriptions", r.chunks, r.reading(r.signs * written / r.chunks, p.rows),
                 r.megabytes(None, 0))] if d.rivals else []),
        Stage("account", 1, r.reading(r.chunks, p.rows), r.megabytes(None, 0)),
        Stage("pool_nulls", min(s.nulls, 1), r.reading(s.null_neurons * d.candidates, p.rows), r.megabytes(None, 0)),
        Stage("probe", 1, r.model_job(s.simulator.model, probed * row), r.megabytes(s.simulator.model, 0),
              int(probed > 0), read=probed * row),
        Stage("score", r.chunks, r.model_job(s.simulator.model, simulated / r.chunks),
              r.megabytes(s.simulator.model, 2 * r.chunk_data), 1, read=simulated, kept=candidates * ROW + simulations),
        Stage("write_details", r.chunks, r.reading(shown / r.chunks, p.rows), r.megabytes(None, r.chunk_data),
              kept=shown * r.seq_len * SHOWN_TOKEN),
        Stage("build_atlas", 1, r.reading(2 * candidates, 50 * p.rows), r.megabytes(None, 2_000 * r.signs),
              kept=r.signs * ROW),
        Stage("write_atlas_page", 1, r.reading(r.signs, p.rows), r.megabytes(None, 4_000 * r.signs),
              kept=r.signs * ROW),
        Stage("plot_scores", 1, r.reading(r.signs, p.rows), r.megabytes(None, 1_000 * r.signs)),
        Stage("write_provenance", 1, r.reading(0, 1), r.megabytes(None, 0)),
        *(_training_stages(r, config.training) if config.training else []),
        *(_explainer_training_stages(r, config.explainer_training, prompt) if config.explainer_training else []),
    ]  # fmt: skip
    return Plan(stages, p.gpus, p.gpu_hour, _assumptions(config, prompt, answer, row), p.ceilings.model_dump())


def _assumptions(config: Config, prompt: float, answer: float, row: float) -> list[str]:
    p = config.plan
    used = {config.subject.model, config.descriptions.explainer.model, config.scores.simulator.model}
    sizes = [
        f"{name} {_short(model_parameters(config, name))}" + ("" if name in p.parameters else " (by subject's shape)")
        for name in sorted(used & set(config.models))
    ]
    return [
        f"a GPU sustains {p.teraflops:g} TFLOP/s (plan.teraflops); a token costs 2 operations per parameter",
        f"parameters (plan.parameters): {', '.join(sizes)}",
        f"a generated token costs as much as {p.generated_token_cost:g} read ones (plan.generated_token_cost)",
        f"tokens: a prompt {prompt:,.0f}, an answer {answer:,.0f}, a simulated sequence {row:,.0f}; no second attempts",
        f"a job starts in {p.start_seconds:g} s and loads {p.load_gigabytes_per_second:g} GB/s of weights",
        f"a job fetches {p.download_gigabytes_per_second:g} GB/s over the network, of weights and published exemplars",
        f"the corpus is cut at {_short(p.corpus_tokens)} tokens/s, tables are written at {_short(p.rows)} rows/s",
        f"a GPU hour costs {p.gpu_hour:g} dollars (plan.gpu_hour)",
    ]
