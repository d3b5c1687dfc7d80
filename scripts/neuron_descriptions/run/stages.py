"""The stages of a run, each with its jobs, time, memory and bytes: `costs.make_plan` puts them together."""

from typing import Any

from neuron_descriptions.common.vocabulary import SIGNS, SPLITS
from neuron_descriptions.config.corpus import Corpus, HubText, Panel
from neuron_descriptions.config.exemplars import HarvestedExemplars, ImportedExemplars, S3Exemplars
from neuron_descriptions.config.explainers import Endpoint
from neuron_descriptions.config.scorers import Collisions, Detection, Fuzzing
from neuron_descriptions.run.memory import Keep, state_bytes
from neuron_descriptions.run.plans import Stage
from neuron_descriptions.run.reckoning import (
    COMPARED_ARRAYS,
    COMPARED_BLOCK,
    COMPARED_ROW,
    COMPARED_SECONDS,
    COMPRESSED,
    CORPUS_ROW,
    DESCRIPTION,
    DOCUMENT,
    KEPT_ROW,
    LOOKUP_ARRAYS,
    LOOKUP_BLOCK,
    LOOKUP_SECONDS,
    NATURAL_SECONDS,
    NEIGHBOUR_ARRAYS,
    NEIGHBOUR_ROW,
    NEIGHBOUR_SECONDS,
    PACKAGE,
    PANEL_MEMORY,
    PANELS,
    PROBED,
    PROMPT,
    RACE,
    ROW,
    SEARCH_SECONDS,
    TABLE,
    VOCABULARY_SECONDS,
    WINDOWS_MEMORY,
    Reckoning,
)
from neuron_descriptions.run.simulation import read_by, simulating


def harvest_stages(r: Reckoning, corpus: Corpus, kept: HarvestedExemplars) -> list[Stage]:
    """From text to exemplars: every block of layers reads every sequence."""
    sequences = sum(getattr(corpus.sequences, split) for split in SPLITS)
    tokens = sequences * r.seq_len
    blocks = -(-r.layers // kept.layers_per_job)
    shards = sum(-(-getattr(corpus.sequences, split) // kept.shard_sequences) for split in SPLITS)
    jobs = shards * blocks
    keep = Keep(kept.k, kept.middle, kept.random, kept.gates)
    state = state_bytes(r.neurons, keep, r.text, r.config.subject.dtype, r.config.features.one_sided) / blocks
    texts = sum(_documents(source) for source in corpus.sources.values())
    model = r.config.subject.model
    return [
        Stage("fetch_documents", len(corpus.sources),
              r.reading(tokens / len(corpus.sources), r.p.corpus_tokens_per_second),
              r.megabytes(None, 4e9), fetched=2 * texts, kept=texts),
        Stage("build_corpus", 1, r.reading(tokens, r.p.corpus_tokens_per_second), r.megabytes(None, 16 * tokens),
              kept=sequences * (2 * r.text + CORPUS_ROW) + len(SPLITS) * TABLE),
        Stage("harvest", jobs, r.model_job(model, sequences * r.harvested * blocks / jobs),
              r.megabytes(model, 1.25 * state), r.config.subject.devices,
              read=sequences * r.harvested * blocks, temporary=jobs * state),
        Stage("merge_exemplars", r.kept_chunks, r.reading(r.rows / r.kept_chunks * shards / len(SPLITS)),
              r.megabytes(None, r.chunk_data * shards / len(SPLITS)), kept=r.exemplar_bytes()),
    ]  # fmt: skip


def state_of_a_layer(r: Reckoning, kept: HarvestedExemplars) -> str:
    """What the harvest's state takes, in words: of all features of a layer, whichever are kept."""
    keep, one_sided = Keep(kept.k, kept.middle, kept.random, kept.gates), r.config.features.one_sided
    each = state_bytes(1, keep, r.text, r.config.subject.dtype, one_sided)
    sides = "one side of each" if one_sided else "both sides of each"
    return (
        f"the harvest's state: {each / 1e3:.3g} kB a {r.config.features.noun} ({sides}), of all"
        f" {r.config.features_per_layer:,} of a layer {each * r.config.features_per_layer / 1e9:.3g} GB"
    )


def panel_stages(r: Reckoning, corpus: Corpus, kept: HarvestedExemplars, panel: Panel) -> list[Stage]:
    """Activations of all kept neurons at every token, then look-ups of each layer: some passes over these numbers."""
    blocks = -(-r.layers // kept.layers_per_job)
    size = r.neurons * panel.tokens * r.width
    model, p = r.config.subject.model, r.p
    block = min(LOOKUP_BLOCK, r.neurons / r.layers) * panel.tokens * 4  # of features at a time, in float32
    return [
        Stage("build_panel", 1, r.reading(PANELS * panel.tokens, r.p.corpus_tokens_per_second), r.megabytes(None, 4e9),
              kept=2 * PANELS * panel.tokens),
        Stage("harvest_panel", PANELS, r.model_job(model, panel.tokens * blocks),
              r.megabytes(model, 1.25 * size / blocks), r.config.subject.devices,
              read=PANELS * panel.tokens * blocks, kept=PANELS * size),
        Stage("type_neurons", r.layers, p.start_seconds + LOOKUP_SECONDS * r.neurons / r.layers * panel.tokens,
              r.megabytes(None, LOOKUP_ARRAYS * block), kept=r.neurons * len(SIGNS) * 40),
        *_neighbour_stages(r, panel),
    ]  # fmt: skip


def _neighbour_stages(r: Reckoning, panel: Panel) -> list[Stage]:
    """Every kept feature with every other: a product of all their activations on one panel."""
    if not panel.neighbours:
        return []
    a_layer = r.neurons / r.layers
    return [
        Stage("find_neighbours", r.layers,
              r.p.start_seconds + NEIGHBOUR_SECONDS * a_layer * r.neurons * panel.tokens,
              r.megabytes(None, NEIGHBOUR_ARRAYS * a_layer * panel.tokens * 8),
              kept=r.neurons * min(panel.neighbours, r.neurons) * NEIGHBOUR_ROW + TABLE * r.layers),
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
              r.reading(r.rows / r.kept_chunks) + r.download(fetched / r.kept_chunks),
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
    search = SEARCH_SECONDS + NATURAL_SECONDS * panel * (r.config.descriptions.concept_fit == "natural")
    return [
        Stage("find_concepts", r.chunks, read + search * r.signs / r.chunks,
              r.megabytes(None, r.chunk_data + 2_000 * texts + PANEL_MEMORY * panel * r.chunk), kept=kept),
        Stage("score_concepts", r.chunks, read, r.megabytes(None, r.chunk_data + 2_000 * texts), kept=kept),
    ]  # fmt: skip


def diff_stages(r: Reckoning) -> list[Stage]:
    """A target of its own: another model reads one panel, then both are read side by side."""
    if r.config.diff is None or r.config.panel is None:
        return []
    assert isinstance(r.config.exemplars, HarvestedExemplars)  # imported ones have no panel
    tokens, blocks = r.config.panel.tokens, -(-r.layers // r.config.exemplars.layers_per_job)
    size, model = r.neurons * tokens * r.width, r.config.subject.model  # the other is of its shape
    other = [
        Stage("harvest_other", 1, r.model_job(model, tokens * blocks), r.megabytes(model, 1.25 * size / blocks),
              r.config.subject.devices, read=tokens * blocks, kept=size),
    ] if r.config.diff.model else []  # fmt: skip
    block = min(COMPARED_BLOCK, r.neurons / r.layers) * tokens * 8
    return [
        *other,
        Stage("diff", 1, r.p.start_seconds + COMPARED_SECONDS * r.neurons * tokens,
              r.megabytes(None, COMPARED_ARRAYS * block), kept=r.neurons * COMPARED_ROW),
    ]  # fmt: skip


def feature_stages(r: Reckoning) -> list[Stage]:
    """Dictionaries that others publish, fetched and converted: an encoder and a decoder in float32, a layer each."""
    if getattr(r.config.features, "path", None) is None:
        return []
    size = r.dictionary_bytes()
    fetched = getattr(r.config.features, "repo", None) is not None
    return [
        *([Stage("fetch_dictionary", r.layers, r.p.start_seconds + r.download(size), r.megabytes(None, 0),
                 fetched=size * r.layers, kept=size * r.layers)] if fetched else []),
        Stage("convert_dictionary", r.layers, r.reading(size / 1e3), r.megabytes(None, 3 * size),
              kept=size * r.layers),
    ]  # fmt: skip


def scorer_stages(r: Reckoning) -> list[Stage]:
    """Further scores: a judge reads every passage with a description, of the neuron and of others."""
    config, found = r.config, []
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
        data = r.chunk_data
        if isinstance(section, Collisions) and (natural := config.scores.natural):  # of a layer, in double precision
            data += 2 * 8 * r.signs / r.layers * natural.sequences * r.text
        seconds = r.model_job(model, read / r.chunks) if model else r.reading(r.signs / r.chunks)
        found.append(
            Stage("ask_scorer" if remote else "run_scorer", r.chunks, seconds, r.megabytes(model, data),
                  int(model is not None), read=read, kept=r.signs * ROW + TABLE * r.chunks,
                  endpoint=read * prices.prompt / 1e6 if prices else 0.0, in_turn=remote)
        )  # fmt: skip
    # What jobs of a rule ask for is the last one's: the largest.
    return sorted(found, key=lambda stage: (stage.memory_mb, stage.seconds))


def score_stages(r: Reckoning, written: int) -> list[Stage]:
    """Every candidate and null on valid, of racing candidates a part of that; the chosen candidate and the nulls on
    test; nulls of a lone candidate on test alone. written: candidates of a neuron and sign. Where a small simulator
    screens, it reads all candidates, the large one those that are left. Without a simulator, the choice among
    candidates."""
    s, scored = r.config.scores, r.config.scores.top + r.config.scores.middle + r.config.scores.random
    if s.simulator is None:
        rated = r.signs * (written + 3)  # the chosen one twice, and the baseline on both splits
        return [Stage("choose_descriptions", r.chunks, r.reading(10 * rated / r.chunks),
                      r.megabytes(None, r.chunk_data), kept=rated * ROW / 2 + TABLE * r.chunks)]  # fmt: skip
    row = read_by(r, s.simulator, scored)[2]
    left = min(written, s.screen.keep) if s.screen else written
    racing = left * (RACE if s.race_from and left >= s.race_from else 1)
    nulls = s.nulls * (2 if written > 1 else 1)
    each = racing + 1 + nulls
    read, probed = r.signs * each * scored * row, PROBED * (s.probe != "off")
    simulations = r.signs * 2 * scored * r.text * (r.width * COMPRESSED + 4)
    rated = r.signs * (written + nulls + 4)  # candidates on valid; baseline and the chosen on both
    predictions = r.signs * scored * (4 * r.text + KEPT_ROW)  # of each description
    found = [
        Stage("probe", 1, **simulating(r, s.simulator, probed * row, 1, 0)
              | ({"gpus": 0} if s.probe == "off" else {})),
    ]  # fmt: skip
    if s.screen:
        model = s.screen.simulator.model
        screened = r.signs * written * scored * read_by(r, s.screen.simulator, scored)[2]
        found.append(
            Stage("screen", r.chunks, r.model_job(model, screened / r.chunks), r.megabytes(model, r.chunk_data), 1,
                  read=screened, kept=r.signs * written * (ROW / 4) + written * predictions + TABLE * r.chunks)
        )  # fmt: skip
    shares = (("candidates, to choose", racing), ("the chosen, to report", 1), ("nulls", nulls))
    found.append(
        Stage("score", r.chunks, **simulating(r, s.simulator, read, r.chunks, 2 * r.chunk_data),
              kept=rated * ROW / 2 + simulations + each * predictions + 2 * TABLE * r.chunks,
              parts=tuple((name, count / each) for name, count in shares if count))
    )  # fmt: skip
    return found


def natural_stages(r: Reckoning) -> list[Stage]:
    """Chosen descriptions on the panel; once for the run the empty one, and lists of tokens where there are nulls."""
    config, s = r.config, r.config.scores
    if config.panel is None or s.natural is None or s.simulator is None:
        return []
    per_token, before, _ = read_by(r, s.simulator, 1)
    length = config.panel.seq_len or r.seq_len
    sequences = min(s.natural.certain + s.natural.likely + s.natural.sequences, -(-config.panel.tokens // length))
    read = r.signs * (sequences * length * per_token + before)
    shared = r.signs * min(s.natural.sequences, sequences) * length * 4
    nulls = 2 * s.null_neurons * min(s.natural.sequences, sequences) * length * 8
    apart = 1 + min(s.panel_token_lists * (s.nulls > 0), 2 * s.null_neurons, r.signs)
    each = min(s.natural.sequences, sequences) * length
    return [
        Stage("score_natural", r.chunks,
              **simulating(r, s.simulator, read, r.chunks, PANELS * 4 * config.panel.tokens * 64),
              kept=shared + r.signs * (sequences * (4 * length + KEPT_ROW) + ROW) + 2 * TABLE * r.chunks),
        Stage("simulate_nulls", 1, **simulating(r, s.simulator, apart * (each * per_token + before), 1, 0),
              kept=apart * (8 * each + ROW) + TABLE),
        Stage("compare_natural", r.layers, r.reading(10 * r.signs / r.layers),
              r.megabytes(None, 4 * (shared / r.layers + nulls)), kept=r.signs * ROW),
    ]  # fmt: skip
