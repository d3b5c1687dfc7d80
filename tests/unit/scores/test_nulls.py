"""Nulls: which descriptions of others, lists of others' tokens, and no description, a neuron is compared with."""

import numpy as np
import pyarrow as pa
import pytest

from conftest import ROOT
from neuron_descriptions.common.signs import turned
from neuron_descriptions.common.storage import read_table, write_table
from neuron_descriptions.common.vocabulary import SIGNS
from neuron_descriptions.corpus.tables import CORPUS
from neuron_descriptions.descriptions import evidence
from neuron_descriptions.descriptions.tables import DESCRIPTIONS
from neuron_descriptions.harvest.tables import EXEMPLARS
from neuron_descriptions.scores import null_pool
from neuron_descriptions.scores.chance import EMPTY, OTHER, TOKENS, Nulls, pool_neurons, read_null_descriptions
from neuron_descriptions.scores.panel_nulls import panel_nulls
from neuron_descriptions.scores.tables import NULL_POOL

FILE = str(ROOT / "config/null-descriptions.yaml")
SELECTED = {1: list(range(0, 60, 2)), 3: list(range(40)), 7: [5]}


def names(chosen):
    return {(layer, neuron) for layer, neurons in chosen.items() for neuron in neurons}


def described(layer, neuron, sign, candidate, text):
    status = "refused" if text is None else "ok"
    return {
        "layer": layer, "neuron": neuron, "sign": sign, "candidate": candidate, "description": text, "status": status,
    }  # fmt: skip


@pytest.fixture
def pool(tmp_path):
    """File of a pool of 12 neurons of two layers."""
    rows = [
        {"layer": layer, "neuron": neuron, "sign": sign, "kind": kind, "description": f"{kind} {layer} {said} {sign}"}
        for layer in (1, 3)
        for neuron, said in zip(range(6), (0, 1, 2, 3, 4, 4))
        for sign in SIGNS
        for kind in (OTHER, TOKENS)
    ]
    write_table(pa.Table.from_pylist(rows, schema=NULL_POOL), tmp_path / "pool.parquet")
    return str(tmp_path / "pool.parquet")


def test_the_pool_is_of_the_run_and_as_large_as_wanted():
    chosen = pool_neurons(SELECTED, 20, seed=0)
    assert len(names(chosen)) == 20
    assert names(chosen) <= names(SELECTED)
    assert all(neurons == sorted(neurons) for neurons in chosen.values())
    assert names(pool_neurons(SELECTED, 1000, seed=0)) == names(SELECTED)
    assert names(pool_neurons(SELECTED, 20, seed=1)) != names(chosen)


def test_further_neurons_change_the_pool_only_where_they_enter_it():
    before = names(pool_neurons(SELECTED, 20, seed=0))
    after = names(pool_neurons(SELECTED | {9: list(range(20))}, 20, seed=0))
    assert {place for place in after if place[0] != 9} < before
    assert len(after) == 20


WORDS = ["the", " river", " stone", " ,"]


@pytest.fixture
def reading(monkeypatch):
    """Token ids are places in WORDS."""
    monkeypatch.setattr(null_pool, "load_tokenizer", lambda folder: None)
    monkeypatch.setattr(evidence, "token_strings", lambda tokenizer, ids: [WORDS[i] for i in ids])


def test_the_pool_holds_a_neurons_first_description_and_its_strongest_tokens(tmp_path, reading):
    described_as = [
        described(1, 4, "positive", 0, None), described(1, 4, "positive", 2, "c"), described(1, 4, "positive", 1, "b"),
        described(3, 4, "positive", 0, "other layer"), described(3, 5, "negative", 0, "wanted"),
    ]  # fmt: skip
    texts = [{"seq_id": i, "source": "s", "prefix_len": 1, "input_ids": [0, 0, 1, 3, 2]} for i in range(20)]
    where = {(1, 4, "positive"): 1, (3, 4, "positive"): 2, (3, 5, "negative"): 3}  # token that it peaks at
    exemplars = [
        {"split": split, "layer": layer, "neuron": neuron, "sign": sign, "kind": kind, "rank": rank, "seq_id": rank,
         "activations": [turned(1.0 * (place == (at if rank < 10 else 0)), sign) for place in range(4)]}
        for (layer, neuron, sign), at in where.items()
        for split, kind in (("train", "top"), ("train", "random"), ("valid", "top"))
        for rank in range(20)
    ]  # fmt: skip
    for name, schema, rows in (
        ("descriptions", DESCRIPTIONS, described_as), ("train", CORPUS, texts), ("exemplars", EXEMPLARS, exemplars),
    ):  # fmt: skip
        write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path / name)
    files = {name: [str(tmp_path / name)] for name in ("descriptions", "train", "exemplars")}
    null_pool.gather_pool(files, {1: [4], 3: [5]}, "subject", str(tmp_path / "pool.parquet"))
    found = read_table(tmp_path / "pool.parquet", NULL_POOL).to_pylist()
    assert [(r["layer"], r["neuron"], r["sign"], r["kind"], r["description"]) for r in found] == [
        (1, 4, "positive", OTHER, "b"), (1, 4, "positive", TOKENS, 'the token "river", mostly after "the"'),
        (3, 5, "negative", OTHER, "wanted"), (3, 5, "negative", TOKENS, 'the token "stone", mostly after ","'),
    ]  # fmt: skip


def test_nulls_are_other_neurons_descriptions_each_once(pool):
    for neuron in range(6):
        for drawn in (getattr(Nulls(pool, FILE, 5, 0), way)(3, neuron, "positive") for way in ("draw", "others")):
            assert len({null.description for null in drawn}) == 5
            origins = [null.origin for null in drawn if null.kind != EMPTY]
            assert not [origin for origin in origins if origin.startswith(f"3/{neuron}/") or origin == "file"]
        assert {null.kind for null in drawn} == {OTHER}


# Of two, the second is a list in five of the twelve orders of four kinds whose first "other" is put first.
@pytest.mark.parametrize(("n", "share"), [(1, 0), (2, 5 / 12), (4, 1), (10, 2.5)])
def test_a_quarter_are_lists_of_tokens_one_may_be_empty_and_the_first_is_another_neurons(pool, n, share):
    drawn = [Nulls(pool, FILE, n, 0).draw(3, neuron, "positive") for neuron in range(400)]
    assert {len(nulls) for nulls in drawn} == {n}
    empty, tokens, other = (
        np.array([sum(null.kind == kind for null in nulls) for nulls in drawn]) for kind in (EMPTY, TOKENS, OTHER)
    )
    assert tokens.mean() == pytest.approx(share, abs=0.1)
    assert empty.mean() == pytest.approx(min(1, share), abs=0.1) and empty.max() <= 1
    assert other.mean() == pytest.approx(n - share - min(1, share), abs=0.1) and other.min() >= 1
    assert all(null.description == "" and null.origin is None for of in drawn for null in of if null.kind == EMPTY)
    assert Nulls(pool, FILE, 0, 0).draw(3, 0, "positive") == []


def test_nulls_are_a_function_of_seed_neuron_and_sign(pool):
    def origins(seed, *who):
        return [null.origin for null in Nulls(pool, FILE, 5, seed).draw(*who)]

    assert origins(0, 3, 2, "positive") == origins(0, 3, 2, "positive")
    others = [origins(1, 3, 2, "positive"), origins(0, 1, 2, "positive"), origins(0, 3, 2, "negative")]
    assert origins(0, 3, 2, "positive") not in others


def test_a_larger_pool_keeps_the_order_of_the_nulls(pool, tmp_path):
    rows = read_table(pool, NULL_POOL).to_pylist()
    less = str(tmp_path / "less.parquet")
    write_table(pa.Table.from_pylist(rows[:-12], schema=NULL_POOL), less)
    gone = {f"{r['layer']}/{r['neuron']}/{r['sign']}" for r in rows[-12:]}
    full = [null.origin for null in Nulls(pool, FILE, 9, 0).others(1, 0, "negative")]
    assert [o for o in full if o not in gone] == [
        null.origin for null in Nulls(less, FILE, 9, 0).others(1, 0, "negative")
    ][: len([o for o in full if o not in gone])]


@pytest.mark.parametrize("n", [19, 30])
def test_the_file_fills_up_what_the_pool_lacks(pool, n):
    drawn = Nulls(pool, FILE, n, 0).others(1, 0, "positive")
    own = [null for null in drawn if null.origin != "file"]
    assert len(drawn) == n
    assert len(own) == 18  # neurons 4 and 5 have the same descriptions, neuron 0's own do not count
    assert drawn[: len(own)] == own
    alone = Nulls(None, FILE, 4, 0).draw(1, 0, "positive")
    assert sorted(str(null.origin) for null in alone) == ["None"] + ["file"] * 3


def test_the_panel_has_the_empty_description_and_some_lists(pool):
    empty, *lists = panel_nulls(pool, 3, 0)
    assert (empty["kind"], empty["description"], empty["neuron"]) == (EMPTY, "", None)
    assert [row["kind"] for row in lists] == [TOKENS] * 3 and len({row["description"] for row in lists}) == 3
    assert panel_nulls(pool, 2, 0) == [empty, *lists[:2]] != panel_nulls(pool, 2, 1)
    assert len(panel_nulls(pool, 100, 0)) == 21  # neurons 4 and 5 have the same lists
    assert panel_nulls(None, 3, 0) == panel_nulls(pool, 0, 0) == [empty]


def test_a_bad_file_is_named(tmp_path):
    (tmp_path / "bad.yaml").write_text("descriptions: [a, a, 3]")
    for path, wanted in ((str(tmp_path / "bad.yaml"), 1), (FILE, 10_000)):
        with pytest.raises(ValueError, match=f"{path} is not a list of at least {wanted} texts"):
            read_null_descriptions(path, wanted)
