"""What a run takes, reckoned before it starts from the configuration alone; what its jobs ask for follows from it.

Every figure is first principles times an assumption of the config's `plan`, and is printed with it: a forward pass
costs 2 operations per parameter and token; a kept activation costs the bytes of its dtype.
"""

from neuron_descriptions.common.vocabulary import SPLITS
from neuron_descriptions.config.exemplars import HarvestedExemplars
from neuron_descriptions.config.explainers import Endpoint
from neuron_descriptions.config.models import HubModel
from neuron_descriptions.config.sections import Config
from neuron_descriptions.run.generation import generation_stages
from neuron_descriptions.run.output_side import output_side_stages
from neuron_descriptions.run.plans import Plan, Stage, short
from neuron_descriptions.run.precision import precision
from neuron_descriptions.run.reckoning import (
    BROWSED_ROW,
    DESCRIPTION,
    DOCUMENT,
    EMBEDDED_RATE,
    FIRST_ROW,
    FIRST_ROWS,
    PACKAGE,
    PAGE,
    PIECES,
    PLOT,
    PROMPT,
    REPORT,
    REPORTED,
    ROW,
    SHOWN_ROW,
    SHOWN_TOKEN,
    TABLE,
    VECTORS,
    WHEEL,
    WRITTEN,
    Reckoning,
    model_parameters,
)
from neuron_descriptions.run.selection import Chunks
from neuron_descriptions.run.simulation import read_by
from neuron_descriptions.run.stages import (
    concept_stages,
    diff_stages,
    feature_stages,
    harvest_stages,
    import_stages,
    natural_stages,
    panel_stages,
    score_stages,
    scorer_stages,
    state_of_a_layer,
)
from neuron_descriptions.run.training import (
    dictionary_training_stages,
    distillation_stages,
    explainer_training_stages,
    training_stages,
)

NAMED = 20  # exemplars of a null neuron whose tokens are named


def on_processor(config: Config, cores: int) -> Config:
    """The same run where there is no GPU: what is reckoned for one is done by so many cores together."""
    preset = {"teraflops": cores * config.plan.core_teraflops, "gpus": 1, "dollars_per_gpu_hour": 0.0}
    return config.model_copy(update={"plan": config.plan.model_copy(update=preset)})


def make_plan(config: Config, described: Chunks, kept: Chunks, cores: int | None = None) -> Plan:
    """Reckon a run that describes some neurons and keeps exemplars of these, or more. cores: of a machine without a
    GPU that the run is for; None: it is for GPUs."""
    config = config if cores is None else on_processor(config, cores)
    r, p = Reckoning(config, described, kept), config.plan

    # Describe.
    d = config.descriptions
    candidates = r.signs * d.candidates
    prompt = (d.evidence_min + d.evidence_max) / 2 * r.text + PROMPT
    answer = (d.max_tokens or 2 * DESCRIPTION) / 2
    remote = isinstance(d.explainer, Endpoint)
    prices = d.explainer.prices if isinstance(d.explainer, Endpoint) else None
    # Samples of a draw share their prompt, unless an endpoint gives one answer to a request.
    several = not isinstance(d.explainer, Endpoint) or getattr(d.explainer, "several", False)
    read, generated = prompt * candidates / (d.samples if several else 1), answer * candidates
    cost = (read * prices.prompt + generated * prices.completion) / 1e6 if prices else 0.0
    asked = (read + generated * p.generated_token_cost) / r.chunks
    local = None if remote or not d.candidates or d.explainer is None else d.explainer.model
    explain = (
        p.start_seconds + candidates / r.chunks / p.answers_per_second if local is None else r.model_job(local, asked)
    )
    devices = 0 if local is None else getattr(d.explainer, "devices", 1)

    # Score, or choose where there is no simulator.
    s = config.scores
    scored = s.top + s.middle + s.random
    row = None if s.simulator is None else read_by(r, s.simulator, scored)[2]
    written = (d.candidates + d.token_candidates + d.concept_candidates) * (
        1 + len(d.rivals)
    )  # of rivals that write as many
    pooled = s.nulls > 0 and (s.simulator is not None or len(s.scorers) > 0)

    models = [name for name, spec in config.models.items() if spec.source in ("hub", "wheel", "gguf")]
    adapters = [name for name, spec in config.models.items() if spec.source == "adapter"]
    drawn = [spec.base for spec in config.models.values() if spec.source == "random"]
    # Weights of a hub come as they are, mostly in 16 bits; a package's are unpacked to 32.
    weights = sum((2 if isinstance(config.models[name], HubModel) else 4) * r.stored(name) for name in models)
    if isinstance(config.exemplars, HarvestedExemplars):
        assert config.corpus is not None  # checked with the configuration
        first = harvest_stages(r, config.corpus, config.exemplars)
        if config.panel is not None:
            first += panel_stages(r, config.corpus, config.exemplars, config.panel)
    else:
        first = import_stages(r, config.exemplars)
    most = config.atlas.exemplars
    half = max(1, most // 2)
    middle = getattr(config.exemplars, "middle", 0)
    others = len(SPLITS) * (min(half, middle) + min(half, config.exemplars.random))
    others += scored if s.simulator else 0
    shown = r.signs * (min(most, config.exemplars.k) + 2 * min(half, config.exemplars.k) + others)
    details = shown * (r.text * SHOWN_TOKEN + SHOWN_ROW)
    stages = [
        Stage("fetch_model", len(models), p.start_seconds + r.download(2 * r.parameters(config.subject.model)),
              r.megabytes(config.subject.model, 0), fetched=weights, kept=weights),
        *([Stage("merge_adapter", len(adapters), r.model_job(adapters[0], 0), r.megabytes(adapters[0], 0),
                 kept=sum(2 * r.stored(name) for name in adapters))] if adapters else []),
        *([Stage("randomize_model", len(drawn), r.model_job(drawn[0], 0), 2 * r.megabytes(drawn[0], 0),
                 kept=sum(2 * r.stored(name) for name in drawn))] if drawn else []),
        *feature_stages(r),
        *first,
        *concept_stages(r),
        *output_side_stages(r),
        *diff_stages(r),
        Stage("describe", r.chunks, explain, r.megabytes(local, r.chunk_data), devices,
              read=read, generated=generated, kept=r.signs * written * ROW + 2 * TABLE * r.chunks,
              endpoint=cost, in_turn=remote),
        *([Stage("gather_descriptions", r.chunks, r.reading(r.signs * written / r.chunks),
                 r.megabytes(None, 0))] if d.rivals else []),
        Stage("account", 1, r.reading(r.chunks), r.megabytes(None, 0), kept=TABLE + TABLE / 2 + ROW * r.layers),
        Stage("pool_nulls", int(pooled), r.reading(s.null_neurons * (d.candidates + NAMED)), r.megabytes(None, 0),
              kept=2 * ROW * min(2 * s.null_neurons, r.signs)),
        *score_stages(r, written),
        *natural_stages(r),
        *generation_stages(r),
        *scorer_stages(r),
        Stage("write_details", r.chunks, r.reading(shown / r.chunks), r.megabytes(None, r.chunk_data),
              kept=details),
        Stage("build_atlas", 1, r.reading(2 * candidates / 50), r.megabytes(None, 2_000 * r.signs),
              kept=2 * r.signs * ROW + 4 * TABLE),  # of many columns
        Stage("write_atlas_page", 1, r.reading(r.signs), r.megabytes(None, 4_000 * r.signs),
              kept=r.signs * BROWSED_ROW + min(r.signs, FIRST_ROWS) * FIRST_ROW + 2 * PAGE
              + min(REPORTED * details, REPORT)),
        *_semantic_stages(r),
        Stage("plot_scores", 1, r.reading(r.signs), r.megabytes(None, 1_000 * r.signs), kept=PLOT),
        Stage("write_provenance", 1, r.reading(0, 1), r.megabytes(None, 0)),
        *(training_stages(r, config.training) if config.training else []),
        *(distillation_stages(r, config.distillation) if config.distillation else []),
        *(explainer_training_stages(r, config.explainer_training, prompt) if config.explainer_training else []),
        *(dictionary_training_stages(r, config.corpus, config.dictionary_training)
          if config.dictionary_training and config.corpus else []),
    ]  # fmt: skip
    assumptions = _assumptions(config, prompt, answer, row, r.text, cores)
    if isinstance(config.exemplars, HarvestedExemplars):
        assumptions.append(state_of_a_layer(r, config.exemplars))
    ceilings = p.ceilings.model_dump() | ({"gpu_hours": None} if cores else {})
    device = "GPU" if cores is None else "processor"
    return Plan(
        stages, p.gpus, p.dollars_per_gpu_hour, assumptions, ceilings, device, precision(config, stages, device)
    )


def _semantic_stages(r: Reckoning) -> list[Stage]:
    """Search by meaning: vectors of all rows, for the page."""
    asked = r.config.atlas.semantic_search
    if asked is None:
        return []
    return [
        Stage("fetch_embeddings", 1, r.p.start_seconds + r.download(WHEEL), r.megabytes(None, 0),
              fetched=WHEEL, kept=VECTORS),
        Stage("embed_descriptions", 1, r.reading(r.signs, EMBEDDED_RATE), r.megabytes(None, 4_000 * r.signs),
              kept=WRITTEN * asked.dimensions * (r.signs + PIECES)),
    ]  # fmt: skip


def _assumptions(
    config: Config, prompt: float, answer: float, row: float | None, text: int, cores: int | None
) -> list[str]:
    p = config.plan
    device = f"{cores} cores, no GPU, sustain" if cores else "a GPU sustains"
    key = "core_teraflops" if cores else "teraflops"
    explainer, samples = config.descriptions.explainer, config.descriptions.samples
    shared = f" (of {samples} samples together)" if samples > 1 else ""
    used = {config.subject.model, getattr(config.scores.simulator, "model", config.subject.model)}
    used |= {explainer.model} if explainer else set()
    used |= {config.scores.screen.simulator.model} if config.scores.screen else set()
    simulated = "" if row is None else f", a simulated sequence {row:,.0f}"
    sizes = [
        f"{name} {short(model_parameters(config, name))}" + ("" if name in p.parameters else " (by subject's shape)")
        for name in sorted(used & set(config.models))
    ]
    return [
        f"{device} {p.teraflops:g} TFLOP/s (plan.{key}); a token costs 2 operations per parameter",
        f"parameters (plan.parameters): {', '.join(sizes)}",
        f"a generated token costs as much as {p.generated_token_cost:g} read ones (plan.generated_token_cost)",
        f"tokens: a prompt {prompt:,.0f}{shared}, an answer {answer:,.0f}{simulated}; no second attempts",
        f"of a sequence {text} tokens are text: a template's prefix takes {p.prefix} (plan.prefix), where there is one;"
        " the harvest reads it once for a batch",
        f"a job starts in {p.start_seconds:g} s and loads {p.load_gigabytes_per_second:g} GB/s of weights",
        f"a job fetches {p.download_gigabytes_per_second:g} GB/s over the network, of weights and published exemplars",
        f"the corpus is cut at {short(p.corpus_tokens_per_second)} tokens/s, tables are written at"
        f" {short(p.rows_per_second)} rows/s",
        *([] if cores else [f"a GPU hour costs {p.dollars_per_gpu_hour:g} dollars (plan.dollars_per_gpu_hour)"]),
        f"texts of a package take {PACKAGE / 1e6:g} MB, a document of the hub {DOCUMENT:,} bytes"
        + (
            ""
            if row is None
            else "; kept predictions are in `score`: results/<run>/predictions may be deleted when the run is finished"
        ),
    ]
