"""The store that joins exemplars with their texts and turns them to a side."""

import numpy as np
import pyarrow as pa
import pytest

from neuron_descriptions.common.signs import direction, one_side, other_side, turned
from neuron_descriptions.common.storage import write_table
from neuron_descriptions.common.vocabulary import SIGNS, SPLITS
from neuron_descriptions.corpus.reading import CorpusTexts, read_texts
from neuron_descriptions.corpus.tables import CORPUS
from neuron_descriptions.harvest.exemplars import ExemplarStore
from neuron_descriptions.harvest.tables import EXEMPLARS
from neuron_descriptions.scores.tables import SIMULATIONS

PREFIX = 2


def acts(split, layer, neuron, seq_id):
    """Of other lengths for every sequence, with both signs and a 0."""
    made = np.random.default_rng([SPLITS.index(split), layer, neuron, seq_id]).normal(size=3 + seq_id % 4)
    made[0] = 0.0
    return made.astype(np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """(tables of two layers, split -> corpus): the exemplars' order is that of their ids turned round."""
    folder = tmp_path_factory.mktemp("exemplars")
    corpus = {}
    for split in SPLITS:
        rows = [
            {"seq_id": i, "source": f"{split} {i}", "document": i, "prefix_len": PREFIX,
             "input_ids": list(range(PREFIX + 3 + i % 4))}
            for i in np.random.default_rng(0).permutation(12).tolist()
        ]  # fmt: skip
        corpus[split] = str(folder / f"{split}.parquet")
        write_table(pa.Table.from_pylist(rows, schema=CORPUS), corpus[split])
    tables = []
    for layer in (1, 3):
        rows = []
        for neuron in (4, 7):
            for split in SPLITS:
                for sign in SIGNS:
                    for kind, ids in (("top", (5, 2, 9)), ("random", (1, 8))):
                        for rank, seq_id in enumerate(ids):
                            values = acts(split, layer, neuron, seq_id)
                            peak = values.max() if sign == "positive" else values.min()
                            rows.append({"split": split, "layer": layer, "neuron": neuron, "sign": sign, "kind": kind,
                                         "rank": rank, "seq_id": seq_id, "peak": float(peak),
                                         "activations": values.tolist()})  # fmt: skip
        tables.append(str(folder / f"layer-{layer}.parquet"))
        write_table(pa.Table.from_pylist(rows, schema=EXEMPLARS), tables[-1])
    return tables, corpus


def test_every_row_has_its_text_and_its_activations_as_they_are_stored(files):
    tables, corpus = files
    found = list(ExemplarStore(tables, corpus))
    assert len(found) == 2 * 2 * 3 * 2 * 5
    for e in found:
        stored = acts(e.split, e.layer, e.neuron, e.seq_id)
        assert e.activations.dtype == np.float32 and (e.activations == stored).all()
        assert (e.text.source, len(e.text.evidence)) == (f"{e.split} {e.seq_id}", len(stored))
        assert e.peak == pytest.approx(direction(e.sign) * e.turned().max())
        assert (e.turned() == direction(e.sign) * stored.astype(float)).all()
        # The other side of the same sequence.
        assert (e.turned(other_side(e.sign)) == -e.turned()).all()
        assert (e.one_side() == np.maximum(e.turned(), 0)).all() and (e.one_side() >= 0).all()


def test_a_feature_s_exemplars_come_in_the_table_s_order_and_others_are_left_out(files):
    tables, corpus = files
    only = {"train": corpus["train"], "test": corpus["test"]}
    store = ExemplarStore(tables, only, [("kind", "=", "top"), ("rank", "<", 2)], lambda layer, neuron: neuron == 7)
    assert store.places() == [(layer, 7, sign) for layer in (1, 3) for sign in SIGNS]
    shown = [(e.split, e.rank, e.seq_id) for e in store.of(3, 7, "negative")]
    assert shown == [("train", 0, 5), ("train", 1, 2), ("test", 0, 5), ("test", 1, 2)]
    assert store.of(3, 4, "negative") == [] and {*store.texts} == {*only}


def test_rows_beside_the_exemplars_have_their_texts_too(files):
    tables, corpus = files
    rows = [{"split": "test", "layer": 1, "neuron": 4, "sign": "negative", "kind": "random", "rank": 0, "seq_id": 11,
             "activations": [-1.0, 2.0, -3.0], "simulated": [0.0, 1.0, 2.0]}]  # fmt: skip
    beside = pa.Table.from_pylist(rows, schema=SIMULATIONS)
    store = ExemplarStore(tables, {"test": corpus["test"]}, [("neuron", "=", 4)], beside=beside)
    (e,) = store.join(beside)
    assert (e.text.source, e.turned().tolist()) == ("test 11", [1.0, -2.0, 3.0]) and np.isnan(e.peak)


def test_a_corpus_in_memory_gives_the_same_texts_and_says_what_it_lacks(files):
    tables, corpus = files
    kept = CorpusTexts(corpus["train"])
    assert kept({8, 1, 11}) == read_texts(corpus["train"], {8, 1, 11}) and kept(set()) == {}
    by_file, by_text = (ExemplarStore(tables, {"train": source}) for source in (corpus["train"], kept))
    assert [e.text for e in by_file] == [e.text for e in by_text]
    for read in (kept, lambda ids: read_texts(corpus["train"], ids)):
        with pytest.raises(ValueError, match=r"train\.parquet: sequences that exemplars name are missing"):
            read({3, 99})


def test_numbers_and_arrays_turn_alike():
    values = np.array([-2.0, 0.0, 3.0])
    for sign in SIGNS:
        assert [turned(v, sign) for v in values.tolist()] == turned(values, sign).tolist()
        assert (one_side(values, sign) == np.maximum(direction(sign) * values, 0)).all()
