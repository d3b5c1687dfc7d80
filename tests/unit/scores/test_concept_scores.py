"""Lists of concepts, found and scored by their own predictions, from tables to tables."""

import numpy as np
import pyarrow as pa
import pytest

from conftest import ROOT
from neuron_descriptions.common.storage import read_table, write_table
from neuron_descriptions.common.vocabulary import SIGNS, SPLITS
from neuron_descriptions.corpus.tables import CORPUS
from neuron_descriptions.descriptions import concepts as finding
from neuron_descriptions.descriptions.found import read_sentences
from neuron_descriptions.harvest.tables import EXEMPLARS, STATISTICS
from neuron_descriptions.scores import concepts as scoring
from neuron_descriptions.scores.concepts import direct_score
from neuron_descriptions.scores.tables import CONCEPT_SCORES

WORDS = [" the", " a", " river", " house", " went", " of", " and", " stone", ",", " cloud", " paper", "."]
RIVER, LENGTH, NEURON = 2, 20, 3
RULES = str(ROOT / "config/concepts/lists.yaml")
NUMBERS = {"top": 5, "middle": 0, "random": 2}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Tables of a neuron that fires on one word, and never downwards; inputs of the two stages."""
    folder, random = tmp_path_factory.mktemp("concepts"), np.random.default_rng(0)
    paths, rows = {}, []
    for split in SPLITS:
        ids = random.integers(0, len(WORDS), (24, LENGTH))
        paths[split] = str(folder / f"{split}.parquet")
        texts = [{"seq_id": i, "source": "s", "document": None, "prefix_len": 1, "input_ids": [0, *row.tolist()]}
                 for i, row in enumerate(ids)]  # fmt: skip
        write_table(pa.Table.from_pylist(texts, schema=CORPUS), paths[split])
        acts = 2.0 * (ids == RIVER) + 0.1 * random.random(ids.shape)
        for sign in SIGNS:
            for kind, chosen in (("top", range(16)), ("random", range(12, 24))):
                rows += [{"split": split, "layer": 1, "neuron": NEURON, "sign": sign, "kind": kind, "rank": rank,
                          "seq_id": i, "peak": 2.0, "activations": acts[i].tolist()}
                         for rank, i in enumerate(chosen)]  # fmt: skip
    for name, schema, table in (
        ("exemplars", EXEMPLARS, rows),
        ("statistics", STATISTICS, [{"split": "train", "layer": 1, "neuron": NEURON, "tokens": 480}]),
    ):
        paths[name] = str(folder / f"{name}.parquet")
        write_table(pa.Table.from_pylist(table, schema=schema), paths[name])
    patch = pytest.MonkeyPatch()
    for module in (finding, scoring):
        patch.setattr(module, "load_tokenizer", lambda folder: None)
        patch.setattr(module, "token_strings", lambda tokenizer, ids: [WORDS[i] for i in ids])
    found, scored = str(folder / "found.parquet"), str(folder / "scored.parquet")
    corpus = {split: paths[split] for split in ("train", "valid")}
    models = {"subject": "none", "rules": RULES}
    finding.find_concepts([NEURON], 1, corpus, [paths["exemplars"]], models, {}, found)
    inputs = {"concepts": found, "exemplars": [paths["exemplars"]], "statistics": [paths["statistics"]], **models}
    scoring.score_concepts([NEURON], 1, inputs | {s: paths[s] for s in SPLITS}, NUMBERS, scored)
    patch.undo()
    return paths, found, read_table(scored, CONCEPT_SCORES).to_pylist()


def test_the_planted_word_is_found_and_silence_has_no_pattern(made):
    said = {(row["sign"], row["candidate"]): row["sentence"] for row in made[2]}
    assert said == {("positive", 0): 'the word "river"', ("negative", 0): "no pattern found"}
    assert read_sentences([made[1]]) == {(NEURON, "positive"): ['the word "river"'], (NEURON, "negative"): []}


def test_the_direct_score_is_the_correlation_on_the_scored_sequences(made):
    paths, _, rows = made
    texts = {row["seq_id"]: row["input_ids"][1:] for row in read_table(paths["test"], CORPUS).to_pylist()}
    stored = [r for r in read_table(paths["exemplars"], EXEMPLARS).to_pylist()
              if (r["split"], r["sign"]) == ("test", "positive")]  # fmt: skip
    acts = {row["seq_id"]: row["activations"] for row in stored}
    predicted, true = [], []
    for seq_id in [0, 1, 2, 3, 4, 12, 13]:  # the first five of the top, two of the random ones
        predicted += [token == RIVER for token in texts[seq_id]]
        true += acts[seq_id]
    by_sign = {row["sign"]: row for row in rows}
    assert by_sign["positive"]["direct_score_contrast"] == pytest.approx(np.corrcoef(predicted, true)[0, 1])
    assert by_sign["negative"]["direct_score_contrast"] is None  # nothing to predict
    assert {row["direct_score"] for row in rows} == {None}  # no panel


def test_a_list_that_never_fires_scores_0():
    varied = np.array([0.0, 1.0, 0.0, 2.0])
    assert direct_score(np.full(4, 0.3), varied) == 0.0
    assert direct_score(varied, np.zeros(4)) is None
    assert direct_score(np.zeros(0), np.zeros(0)) is None
    assert direct_score(varied, -varied + 2) == pytest.approx(-1.0)
