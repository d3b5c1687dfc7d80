"""The stages of a run, each with its jobs, time, memory and bytes: `costs.make_plan` puts them together."""

from typing import Any

from neuron_descriptions.common.vocabulary import SIGNS, SPLITS
from neuron_descriptions.config.corpus import Corpus, HubText, Panel
from neuron_descriptions.config.exemplars import HarvestedExemplars, ImportedExemplars, S3Exemplars
from neuron_descriptions.config.explainers import Endpoint
from neuron_descriptions.config.scorers import Detection, Fuzzing
from neuron_descriptions.config.training import ExplainerTraining, Training
from neuron_descriptions.run.memory import Keep, state_bytes
from neuron_descriptions.run.plans import Stage
from neuron_descriptions.run.reckoning import (
    COMPRESSED,
    CORPUS_ROW,
    DESCRIPTION,
    DOCUMENT,
    KEPT_ROW,
    LOOKUP_ARRAYS,
    LOOKUP_BLOCK,
    LOOKUP_SECONDS,
    LORA,
    PACKAGE,
    PANELS,
    PROBED,
    PROMPT,
    PROMPTED_TOKENS,
    RACE,
    ROW,
    SEARCH_SECONDS,
    TABLE,
    UNEMBEDDED,
    VOCABULARY_SECONDS,
    WINDOWS_MEMORY,
    Reckoning,
)


def harvest_stages(r: Reckoning, corpus: Corpus, kept: HarvestedExemplars) -> list[Stage]:
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


def panel_stages(r: Reckoning, corpus: Corpus, kept: HarvestedExemplars, panel: Panel) -> list[Stage]:
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


def import_stages(r: Reckoning, kept: ImportedExemplars) -> list[Stage]:
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


def concept_stages(r: Reckoning) -> list[Stage]:
    """Lists of concepts: the vocabulary reads each part's texts once, then each neuron and sign is searched for."""
    if not r.config.descriptions.concept_candidates:
        return []
    panel = r.config.panel.tokens if r.config.panel else 0
    texts = 2 * (r.kept * r.text * r.signs / r.chunks + panel)  # of train and valid
    read = r.p.start_seconds + texts * VOCABULARY_SECONDS
    kept = r.signs * r.config.descriptions.concept_candidates * 2 * ROW
    return [
        Stage("find_concepts", r.chunks, read + SEARCH_SECONDS * r.signs / r.chunks,
              r.megabytes(None, r.chunk_data + 2_000 * texts), kept=kept),
        Stage("score_concepts", r.chunks, read, r.megabytes(None, r.chunk_data + 2_000 * texts), kept=kept),
    ]  # fmt: skip


def output_side_stages(r: Reckoning) -> list[Stage]:
    """Down-projection columns through the unembedding: 2 operations for each number of either, the columns being a
    third of the model's parameters."""
    if not r.config.output_side:
        return []
    share = r.signs / len(SIGNS) / (r.config.subject.layers * r.config.features_per_layer)
    model, tokens = r.config.subject.model, share * UNEMBEDDED / 3
    return [
        Stage("write_output_side", 1, r.model_job(model, tokens), r.megabytes(model, 4 * UNEMBEDDED * 512),
              r.config.subject.devices, kept=r.signs * r.config.output_side.tokens * 12),
    ]  # fmt: skip


def feature_stages(r: Reckoning) -> list[Stage]:
    """Dictionaries that others publish, converted: an encoder and a decoder in float32, a layer each."""
    if getattr(r.config.features, "path", None) is None:
        return []
    width = r.parameters(r.config.subject.model) / r.layers / (3 * r.config.subject.neurons_per_layer)
    size = 2 * r.config.features_per_layer * width * 4
    return [
        Stage("convert_dictionary", r.layers, r.reading(size / 1e3, r.p.rows), r.megabytes(None, 3 * size),
              kept=size * r.layers),
    ]  # fmt: skip


def training_stages(r: Reckoning, training: Training) -> list[Stage]:
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


def explainer_training_stages(r: Reckoning, training: ExplainerTraining, prompt: float) -> list[Stage]:
    """A round's training, a target of its own; prompt: tokens of one."""
    seen = training.steps * training.batch_size * prompt
    weights = r.parameters(training.base) * 2
    return [
        Stage("train_explainer", 1, r.model_job(training.base, 3 * seen),
              r.megabytes(None, weights + r.kept_for_the_way_back(training.batch_tokens)),
              training.devices, read=seen, kept=weights * LORA),
    ]  # fmt: skip


def score_stages(r: Reckoning, written: int) -> tuple[list[Stage], float | None]:
    """Scores by a simulator, and tokens that a sequence takes there; without one the choice among candidates, and None.
    written: candidates of a neuron and sign.

    Every candidate and null is simulated on valid, of racing candidates a part of that; the chosen candidate and the
    nulls on test. What the sequences of a description share is read once.
    """
    s, p = r.config.scores, r.p
    if s.simulator is None:
        rated = r.signs * (written + 3)  # the chosen one twice, and the baseline on both splits
        choice = Stage("choose_descriptions", r.chunks, r.reading(rated / r.chunks, p.rows / 10),
                       r.megabytes(None, r.chunk_data), kept=rated * ROW / 2 + TABLE * r.chunks)  # fmt: skip
        return [choice], None
    scored = s.top + s.middle + s.random
    per_token = PROMPTED_TOKENS if s.simulator.kind == "prompted" else 1
    # A fine-tuned simulator reads the prefix too, once for all sequences of a description.
    before = DESCRIPTION + (r.seq_len - r.text) * (s.simulator.kind == "finetuned")
    row = r.text * per_token + before / scored
    of_each = written * (RACE if s.race_from and written >= s.race_from else 1) + 1 + 2 * s.nulls
    simulated = r.signs * of_each * scored * row
    probed = PROBED * (s.probe != "off")
    simulations = r.signs * 2 * scored * r.text * (r.width * COMPRESSED + 4)
    rated = r.signs * (written + 2 * (s.nulls + 2))  # candidates on valid; nulls, baseline and the chosen on both
    predictions = r.signs * of_each * scored * (4 * r.text + KEPT_ROW)
    stages = [
        Stage("probe", 1, r.model_job(s.simulator.model, probed * row), r.megabytes(s.simulator.model, 0),
              int(probed > 0), read=probed * row),
        Stage("score", r.chunks, r.model_job(s.simulator.model, simulated / r.chunks),
              r.megabytes(s.simulator.model, 2 * r.chunk_data), 1, read=simulated,
              kept=rated * ROW / 2 + simulations + predictions + 2 * TABLE * r.chunks),
        *natural_stages(r, s.simulator.model, per_token, before),
    ]  # fmt: skip
    return stages, row


def scorer_stages(r: Reckoning) -> list[Stage]:
    """Further scores: a judge reads every passage with a description, of the neuron and of others."""
    config, p, found = r.config, r.p, []
    for section in config.scores.scorers.values():
        read, remote, prices, model = 0.0, False, None, None
        if isinstance(section, Detection | Fuzzing):
            passages = section.positives + (
                section.random + section.close + section.panel
                if isinstance(section, Detection)
                else section.random if section.wrong == "silent" else section.positives
            )  # fmt: skip
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


def natural_stages(r: Reckoning, simulator: str, per_token: float, before: float) -> list[Stage]:
    """Chosen descriptions on the panel; per_token, before: what the simulator reads for each token, and once before the
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
        Stage("score_natural", r.chunks, r.model_job(simulator, read / r.chunks),
              r.megabytes(simulator, PANELS * 4 * config.panel.tokens * 64), 1, read=read,
              kept=shared + r.signs * (sequences * (4 * length + KEPT_ROW) + ROW) + 2 * TABLE * r.chunks),
        Stage("compare_natural", r.layers, r.reading(r.signs / r.layers, r.p.rows / 10),
              r.megabytes(None, 4 * (shared / r.layers + nulls)), kept=r.signs * ROW),
    ]  # fmt: skip
