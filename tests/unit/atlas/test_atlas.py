"""The atlas: its rows, its pages in a real browser, its plot."""

import base64
import gzip
import json
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest

from conftest import ROOT
from neuron_descriptions.atlas import site as pages
from neuron_descriptions.atlas.browsing import NONE
from neuron_descriptions.atlas.building import Beside, atlas_rows, build_atlas, standing
from neuron_descriptions.atlas.details import Details
from neuron_descriptions.atlas.packing import pack, read_neurons, read_script, script, unpack
from neuron_descriptions.atlas.plots import plot_scores
from neuron_descriptions.atlas.site import _json, _packed, write_atlas_page, write_details, write_neuron_page
from neuron_descriptions.atlas.tables import ATLAS, COLUMNS, documentation
from neuron_descriptions.common.storage import read_table, write_table
from neuron_descriptions.common.vocabulary import SIGNS, SPLITS, TAILS, quantile_column
from neuron_descriptions.concepts.execution import ConceptList
from neuron_descriptions.concepts.predicates import Predicate
from neuron_descriptions.concepts.wording import NO_PATTERN, Part
from neuron_descriptions.config.explainers import Prices
from neuron_descriptions.config.scores import Scores
from neuron_descriptions.corpus.reading import corpus_facts, read_texts
from neuron_descriptions.corpus.tables import CORPUS
from neuron_descriptions.descriptions.accounting import accounts
from neuron_descriptions.descriptions.tables import ACCOUNTS, DESCRIPTIONS
from neuron_descriptions.harvest.tables import EXEMPLARS, STATISTICS, gate_column
from neuron_descriptions.output_side.judged import OUTPUT_SCORES
from neuron_descriptions.output_side.scaled import OUTPUT_SCALED
from neuron_descriptions.output_side.tables import OUTPUT_SIDE
from neuron_descriptions.panel.tables import NEIGHBOURS, NEURON_TYPES
from neuron_descriptions.scores.chance import Nulls
from neuron_descriptions.scores.evidence import Evidence
from neuron_descriptions.scores.output_tokens_tables import OUTPUT_TOKENS
from neuron_descriptions.scores.simulation import Scorer
from neuron_descriptions.scores.tables import CONCEPT_SCORES, SCORES, SIMULATIONS

# --- rows by hand ------------------------------------------------------------------------------------


def description(neuron, sign, candidate, text, status="ok", layer=1):
    return {
        "layer": layer, "neuron": neuron, "sign": sign, "candidate": candidate, "description": text,
        "exemplar_ranks": [2, 0, 1], "explainer": "an explainer", "prompt_sha256": None, "prompt_tokens": 9,
        "completion_tokens": 3, "attempts": 1, "status": status,
    }  # fmt: skip


def score(neuron, sign, candidate, split, correlation, layer=1, kind="candidate", published=None, **more):
    around = (
        {}
        if correlation is None
        else {"correlation_low": correlation - 0.1, "correlation_high": correlation + 0.1}
        | {"natural": correlation - 0.05, "natural_low": correlation - 0.25, "natural_high": correlation + 0.15}
    )
    return {
        "layer": layer, "neuron": neuron, "sign": sign, "candidate": candidate, "kind": kind, "split": split,
        "simulator": None if kind == "token_baseline" else "a simulator", "correlation": correlation,
        "published_score": published, "n_sequences": 7, "n_tokens": 99, "chosen": False,
        "null_kind": "other" if kind == "null" else None,
        **around, **more,
    }  # fmt: skip


def statistics(neuron, layer=1):
    quantiles = {quantile_column(tail, sign): 1.0 if sign == "positive" else -1.0 for sign in SIGNS for tail in TAILS}
    return [
        {"split": split, "layer": layer, "neuron": neuron, "tokens": 5000, "mean": 0.1, "std": 1.5}
        | {"min": -2.0 - place, "max": 3.0 + place}
        | quantiles
        | ({"log_density": -3.5} if layer == 3 else dict(zip(map(gate_column, SIGNS), (0.75, 0.375))))
        for place, split in enumerate(SPLITS)
    ]


def rows_of(descriptions, scores=(), concepts=None, types=None):
    """(layer, neuron, sign) -> row, in order."""
    who = dict.fromkeys((d["layer"], d["neuron"]) for d in descriptions)
    tables = (
        pa.Table.from_pylist(list(rows), schema=schema)
        for rows, schema in (
            (descriptions, DESCRIPTIONS),
            (scores, SCORES),
            ([s for layer, neuron in who for s in statistics(neuron, layer)], STATISTICS),
        )
    )
    more = (
        None if rows is None else pa.Table.from_pylist(rows, schema=schema)
        for rows, schema in ((concepts, CONCEPT_SCORES), (types, NEURON_TYPES))
    )
    return {(r["layer"], r["neuron"], r["sign"]): r for r in atlas_rows(*tables, Beside(None, *more))}


def row_of(descriptions, scores=(), concepts=None, types=None):
    (row,) = rows_of(descriptions, scores, concepts, types).values()
    assert list(row) == ATLAS.names
    pa.Table.from_pylist([row], schema=ATLAS)
    return row


NOTHING = (
    "description", "score", "score_low", "score_high", "score_contrast", "score_contrast_low", "selection_score",
    "published_score", "null_score",
)  # fmt: skip


def test_neuron_without_activation():
    row = row_of([description(5, "negative", i, None, "no_activation") for i in range(3)])
    assert row["status"] == "no_activation"
    assert all(row[name] is None for name in NOTHING)
    assert row["n_candidates"] == 0


@pytest.mark.parametrize("statuses", [("refused", "refused"), ("unparsed", "unparsed"), ("refused", "unparsed")])
def test_neuron_without_a_description(statuses):
    scored = [score(5, "positive", -2, split, 0.4, kind="token_baseline") for split in ("valid", "test")]
    row = row_of([description(5, "positive", i, None, status) for i, status in enumerate(statuses)], scored)
    assert row["status"] == "no_description"
    assert all(row[name] is None for name in NOTHING)
    assert row["token_baseline_contrast"] == 0.4


def test_undefined_scores_on_valid_are_no_score():
    described = [description(5, "positive", i, f"d{i}") for i in range(2)]
    row = row_of(described, [score(5, "positive", i, "valid", None) for i in range(2)])
    assert row["status"] == "no_score"
    assert (row["score_contrast"], row["selection_score"], row["published_score"]) == (None, None, None)
    assert row["n_candidates"] == 2


def test_undefined_score_on_test_is_no_score():
    described = [description(5, "positive", 0, "months")]
    scored = [
        score(5, "positive", 0, "valid", 0.7, chosen=True, description="months", published=0.7),
        score(5, "positive", 0, "test", None, chosen=True, description="months"),
    ]
    row = row_of(described, scored)
    assert row["status"] == "no_score"
    assert (row["description"], row["selection_score"], row["score_contrast"]) == ("months", 0.7, None)


def test_score_is_of_test_and_selection_of_valid():
    described = [description(5, "positive", 0, None, "refused"), description(5, "positive", 1, "months")]
    described.append(description(5, "positive", 2, "weeks"))
    scored = [
        score(5, "positive", -2, "valid", 0.9, kind="token_baseline"),
        score(5, "positive", -2, "test", 0.35, kind="token_baseline"),
        score(5, "positive", 1, "valid", 0.8, chosen=True, description="months", published=0.8),
        score(5, "positive", 2, "valid", -0.95, description="weeks", published=0.95),
        score(5, "positive", 1, "test", 0.2, chosen=True, description="months", published=0.99),
        score(5, "positive", -1, "test", 0.1, kind="null", published=1.0, description="ships"),
        score(5, "positive", -1, "test", None, kind="null", description="law"),
        score(5, "positive", -1, "test", -0.3, kind="null", description="music"),
    ]
    row = row_of(described, scored)
    assert row["status"] == "ok"
    assert row["description"] == "months"
    contrast = (row["score_contrast"], row["score_contrast_low"], row["score_contrast_high"])
    assert contrast == pytest.approx((0.2, 0.1, 0.3))
    assert (row["score"], row["score_low"], row["score_high"]) == pytest.approx((0.15, -0.05, 0.35))
    assert row["token_baseline_score"] == pytest.approx(0.3)
    assert row["panel_best_null_score"] is None  # no panel
    assert row["selection_score"] == 0.8
    assert row["published_score"] == 0.95  # the best on valid, whichever is chosen; not of test, not a null's
    assert row["published_score_test"] is None  # that one was not simulated on test
    assert row["null_score"] == pytest.approx(-0.1)
    assert row["null_percentile"] == pytest.approx(100)
    assert row["n_nulls"] == 3
    assert row["token_baseline_contrast"] == 0.35
    assert row["n_candidates"] == 2
    assert (row["explainer"], row["simulator"]) == ("an explainer", "a simulator")


def nulls(*pairs):
    """Rows of nulls with (valid, test) correlations."""
    return [
        score(5, "positive", -1, split, value, kind="null", description=f"null {i}")
        for i, pair in enumerate(pairs)
        for split, value in zip(("valid", "test"), pair)
    ]


def chance_row(valid, test, low, *pairs):
    """Row of a neuron with as many candidates as `valid`, the first chosen."""
    described = [description(5, "positive", i, f"d{i}") for i in range(len(valid))]
    scored = [score(5, "positive", i, "valid", v, chosen=i == 0, description=f"d{i}") for i, v in enumerate(valid)]
    scored.append(score(5, "positive", 0, "test", test, chosen=True, description="d0", correlation_low=low))
    return row_of(described, scored + nulls(*pairs))


def test_nulls_that_were_not_read_on_valid_are_none_to_choose_from():
    pairs = [(0.1, 0.3), (0.4, 0.5), (-0.2, -0.4)]
    lone = score(5, "positive", -1, "test", 0.9, kind="null", description="of a row with one candidate")
    described = [description(5, "positive", i, f"d{i}") for i in range(2)]
    scored = [score(5, "positive", i, "valid", 0.6 - i, chosen=i == 0, description=f"d{i}") for i in range(2)]
    scored += [score(5, "positive", 0, "test", 0.35, chosen=True, description="d0"), *nulls(*pairs)]
    assert row_of(described, [*scored, lone]) == row_of(described, scored)


def test_the_kind_of_nulls_that_is_hardest_to_beat_decides():
    """Nulls that are easily beaten must not hide others: the empty description gets as much as the score."""
    others = [(None, value / 100) for value in range(-20, 20)]
    row = chance_row([0.6], 0.35, 0.3, *others)
    assert (row["chance"], row["null_empty_score"], row["null_tokens_score"]) == ("beats chance", None, None)
    described = [description(5, "positive", 0, "d0")]
    scored = [score(5, "positive", 0, split, 0.35, chosen=True, description="d0") for split in ("valid", "test")]
    kinds = {"tokens": (0.1, "what he names"), "empty": (0.4, "")}
    apart = {
        kind: score(5, "positive", -1, "test", value, kind="null", description=text, null_kind=kind)
        for kind, (value, text) in kinds.items()
    }
    named = row_of(described, [*scored, *nulls(*others), apart["tokens"]])
    assert (named["chance"], named["null_tokens_score"], named["n_nulls"]) == ("beats chance", 0.1, 41)
    assert named["null_score"] == row["null_score"] and named["best_null_score"] == 0.1  # lists get more than others
    empty = row_of(described, [*scored, *nulls(*others), *apart.values()])
    assert (empty["chance"], empty["chance_failed"]) == ("at chance", "interval, rank")
    assert (empty["best_null_score"], empty["null_empty_score"], empty["best_null_percentile"]) == (0.4, 0.4, 0)


def test_the_best_of_n_is_compared_with_the_best_of_n_nulls():
    pairs = [(0.1, 0.3), (0.4, 0.5), (-0.2, -0.4), (None, 0.2)]
    row = chance_row([0.6, 0.2], 0.35, 0.3, *pairs)
    assert row["null_score"] == pytest.approx(0.15)
    assert row["null_percentile"] == pytest.approx(75)
    # Of the 6 pairs of nulls, the second is the best on valid of 3, the first of 2, the third of 1.
    assert row["best_null_score"] == pytest.approx((3 * 0.5 + 2 * 0.3 - 0.4) / 6)
    assert row["best_null_percentile"] == pytest.approx(100 * 3 / 6)
    assert row["beats_chance"] is False
    alone = chance_row([0.6], 0.35, 0.3, *pairs)
    assert (alone["best_null_score"], alone["best_null_percentile"]) == pytest.approx((0.15, 75))


@pytest.mark.parametrize(
    ("test", "low", "beats"),
    [(0.6, 0.5, True), (0.6, 0.2, False), (0.3, 0.25, False), (-0.1, -0.2, False), (None, None, None)],
)
def test_beating_chance_takes_a_rank_and_a_clear_interval(test, low, beats):
    assert chance_row([0.6, 0.2], test, low, (0.2, 0.3), (0.1, 0.1), (0.0, 0.4))["beats_chance"] is beats


@pytest.mark.parametrize(
    ("score", "low", "best_null", "best_below", "found"),
    [
        (0.6, 0.3, 0.1, 0.99, ("beats chance", None)),
        (0.6, 0.06, 0.1, 0.99, ("not shown", "interval")),  # a high score, but it may be luck
        (0.6, 0.3, 0.1, 0.9, ("not shown", "rank")),  # clear of their mean, but several nulls do as well
        (0.6, 0.06, 0.1, 0.5, ("not shown", "interval, rank")),
        (0.08, 0.01, 0.1, 0.5, ("at chance", "interval, rank")),
        (-0.1, -0.2, -0.3, 1.0, ("at chance", "interval")),  # above its nulls, but not above nothing
        (0.6, None, None, None, ("not shown", "interval, rank")),
    ],
)
def test_where_a_score_stands(score, low, best_null, best_below, found):
    assert standing(score, low, best_null, best_below) == found


def test_the_documentation_of_the_columns_is_current():
    assert (ROOT / "docs/reference/atlas.md").read_text() == documentation(), "run `make docs`"


def test_nulls_of_a_layer_and_sign_stand_for_a_neurons_own():
    own, others = nulls((0.1, 0.3), (0.4, 0.5)), nulls((-0.2, -0.4), (0.3, 0.2), (0.1, 0.9))
    described = pa.Table.from_pylist([description(5, "positive", i, f"d{i}") for i in range(2)], schema=DESCRIPTIONS)
    scored = [score(5, "positive", i, "valid", 0.6 - i, chosen=i == 0, description=f"d{i}") for i in range(2)]
    scored.append(score(5, "positive", 0, "test", 0.35, chosen=True, description="d0"))
    ranges = pa.Table.from_pylist(statistics(5), schema=STATISTICS)

    def row(rows, pools):
        return atlas_rows(described, pa.Table.from_pylist(rows, schema=SCORES), ranges, Beside(pools=pools))[0]

    pool = own + [other | {"neuron": 9} for other in others]
    pooled = row(scored + own, {(1, "positive"): pool, (1, "negative"): others})
    renamed = [{**other, "description": f"other {i // 2}"} for i, other in enumerate(others)]
    alone = row(scored + own + renamed, {})
    assert pooled == alone and pooled["n_nulls"] == 5
    assert pooled["null_score"] != row(scored + own, {})["null_score"]


def test_what_nothing_was_said_of_is_compared_with_no_pool():
    """As where no concept fits and nobody else is asked."""
    described = [description(5, "positive", 0, None) | {"status": "unparsed"}]
    ranges = pa.Table.from_pylist(statistics(5), schema=STATISTICS)
    pools = {(1, "positive"): [null | {"neuron": 9} for null in nulls((0.1, 0.3), (0.4, 0.5))]}
    tables = pa.Table.from_pylist(described, schema=DESCRIPTIONS), SCORES.empty_table()
    (row,) = atlas_rows(*tables, ranges, Beside(pools=pools))
    assert (row["status"], row["chance"], row["best_null_score"]) == ("no_description", None, None)


def test_a_score_below_zero_never_beats_chance():
    assert chance_row([0.6, 0.2], -0.1, -0.2, (0.2, -0.5), (0.1, -0.4))["beats_chance"] is False


def test_without_nulls_chance_is_unknown():
    row = chance_row([0.6, 0.2], 0.5, 0.4)
    assert (row["null_score"], row["best_null_score"], row["beats_chance"], row["n_nulls"]) == (None, None, None, 0)


def test_published_score_is_of_the_description_that_its_rule_chooses():
    described = [description(5, "positive", i, f"d{i}") for i in range(2)]
    scored = [
        score(5, "positive", 0, "valid", 0.5, published=0.5, chosen=True, description="d0"),
        score(5, "positive", 1, "valid", -0.8, published=0.8, description="d1"),
        score(5, "positive", 0, "test", 0.4, published=0.4, chosen=True, description="d0"),
        score(5, "positive", 1, "test", -0.7, published=0.7, description="d1"),
    ]
    row = row_of(described, scored)
    assert (row["score_contrast"], row["published_score"], row["published_score_test"]) == (0.4, 0.8, 0.7)


def concept(neuron, sign, candidate, found, natural=None, contrast=None, layer=1):
    return {
        "layer": layer, "neuron": neuron, "sign": sign, "candidate": candidate, "sentence": found.sentence,
        "parts": found.write(), "direct_score": natural, "direct_score_contrast": contrast,
    }  # fmt: skip


SHORT = ConceptList((Part(Predicate("word", "the"), None, 2.0),), 0.1)
LONG = ConceptList((*SHORT.parts, Part(Predicate("mark", ","), None, 1.25)), 0.1)


@pytest.mark.parametrize(
    ("described", "direct"),
    [(LONG.sentence, 0.4), (SHORT.sentence, 0.3), ("months", 0.4), (None, 0.4)],
    ids=["the longest is chosen", "a shorter one", "another kind", "none is chosen"],
)
def test_the_direct_score_is_of_the_description_or_else_of_the_longest(described, direct):
    lists = [concept(5, "positive", 1, SHORT, 0.3, 0.5), concept(5, "positive", 0, LONG, 0.4, 0.6)]
    lists.append(concept(5, "negative", 0, LONG, 0.9, 0.9))
    scored = [score(5, "positive", 0, split, 0.7, chosen=True, description=described) for split in ("valid", "test")]
    row = row_of([description(5, "positive", 0, described or "x")], scored if described else [], lists)
    assert (row["direct_score"], row["direct_score_contrast"]) == (direct, pytest.approx(direct + 0.2))


def test_without_a_list_there_is_no_direct_score():
    described = [description(5, "positive", 0, NO_PATTERN)]
    for lists in (None, [], [concept(5, "positive", 0, ConceptList(), 0.0, 0.0)]):
        assert row_of(described, [], lists)["direct_score"] is None


def test_a_row_has_its_own_type():
    types = [
        {"layer": layer, "neuron": neuron, "sign": sign, "type": name}
        for layer, neuron, sign, name in (
            (1, 5, "positive", "token"), (1, 5, "negative", "none"), (1, 6, "positive", "bigram"),
            (2, 5, "positive", "context"),
        )
    ]  # fmt: skip
    described = [description(5, sign, 0, "x") for sign in SIGNS] + [description(7, "positive", 0, "x")]
    assert [row["type"] for row in rows_of(described, types=types).values()] == ["token", "none", None]
    assert all(row["type"] is None for row in rows_of(described).values())


def test_signs_have_rows_of_their_own():
    described = [description(5, sign, 0, f"{sign} words") for sign in SIGNS]
    scored = [
        score(5, "positive", 0, "valid", None),
        score(5, "negative", 0, "valid", 0.5, chosen=True, description="negative words"),
        score(5, "negative", 0, "test", -0.4, chosen=True, description="negative words"),
    ]
    found = rows_of(described, scored)
    assert [row["status"] for row in found.values()] == ["no_score", "ok"]
    assert found[1, 5, "negative"]["score_contrast"] == -0.4
    assert (found[1, 5, "positive"]["peak"], found[1, 5, "negative"]["peak"]) == (3.0, -2.0)  # of the train split


def test_rows_come_by_layer_neuron_and_sign():
    who = [(2, 1, "negative"), (1, 10, "positive"), (2, 1, "positive"), (1, 9, "negative"), (1, 10, "negative")]
    found = rows_of([description(n, sign, 0, None, "no_activation", layer) for layer, n, sign in who])
    assert list(found) == [(1, 9, "negative"), (1, 10, "positive"), (1, 10, "negative"), (2, 1, "positive"), who[0]]


# --- small tables of real text -----------------------------------------------------------------------

HOSTILE = ' a </script><script>alert(1)</script> b <!--<script> c & "d" \u2028'
LAYERS = {1: [5, 700], 3: [9]}
ABOUT = {"run": "tiny", "subject": "a subject", "explainer": "an explainer", "simulator": "prompted a simulator"}
N_EXEMPLARS = 4

DESCRIBED = [
    description(5, "positive", 0, "weeks"),
    description(5, "positive", 1, f"months{HOSTILE}"),
    description(5, "positive", 2, None, "refused"),
    description(5, "negative", 0, "opening brackets, as in ÉGALITÉ"),
    description(700, "positive", 0, None, "no_activation"),
    description(700, "negative", 0, None, "unparsed"),
    description(9, "positive", 0, "names of Months", layer=3),
    description(9, "negative", 0, "sums of money", layer=3),
]
SCORED = [
    score(5, "positive", 0, "valid", 0.31, published=0.31),
    score(5, "positive", 1, "valid", 0.71, published=0.71, chosen=True, description=f"months{HOSTILE}"),
    score(
        5,
        "positive",
        1,
        "test",
        0.6234,
        published=0.63,
        chosen=True,
        description=f"months{HOSTILE}",
        correlation_low=0.02,
    ),  # reaches down to chance: not shown
    score(5, "positive", -1, "test", 0.05, kind="null"),
    score(5, "positive", -2, "test", 0.41, kind="token_baseline"),
    score(5, "negative", 0, "valid", 0.2, chosen=True, description="opening brackets, as in ÉGALITÉ"),
    score(5, "negative", 0, "test", -0.1, chosen=True, description="opening brackets, as in ÉGALITÉ"),
    score(9, "positive", 0, "valid", 0.4, layer=3, chosen=True, description="names of Months"),
    score(9, "positive", 0, "test", 0.31, layer=3, chosen=True, description="names of Months"),
    score(9, "negative", 0, "valid", None, layer=3),
]

FOUND = [concept(9, "positive", 0, LONG, 0.25, 0.45, layer=3), concept(9, "negative", 0, ConceptList(), 0, 0, layer=3)]
FOUND.append(concept(5, "negative", 0, SHORT, 0.1, 0.2))
TYPED = [
    {"layer": layer, "neuron": neuron, "sign": sign, "type": name}
    for (layer, neuron), name in {(1, 5): "token", (1, 700): "none", (3, 9): "context"}.items()
    for sign in SIGNS
]


@pytest.fixture(scope="module")
def texts(corpus, tokenizer, tmp_path_factory):
    """The real corpus with a hostile text at each end: split -> table."""
    folder = tmp_path_factory.mktemp("texts")
    outputs = {}
    for split, path in corpus.items():
        table = read_table(path, CORPUS)
        ids = tokenizer(HOSTILE, split_special_tokens=True)["input_ids"]
        row = {"seq_id": len(table), "source": "<b>made</b>", "document": 1, "prefix_len": 0, "input_ids": ids}
        facts = corpus_facts(path)
        metadata = {"tokens": str(facts.tokens + len(ids)), "longest": str(max(facts.longest, len(ids)))}
        schema = CORPUS.with_metadata(metadata | {"tokenizer": facts.tokenizer})
        outputs[split] = str(folder / f"{split}.parquet")
        both = [table.cast(CORPUS), pa.Table.from_pylist([row], schema=CORPUS)]
        write_table(pa.concat_tables([t.replace_schema_metadata(None) for t in both]).cast(schema), outputs[split])
    return outputs


def shown_sequences(texts, layer, neuron, sign):
    """Rows of EXEMPLARS: of each split some top and random ones, the hostile text first."""
    direction = 1 if sign == "positive" else -1
    for split, path in texts.items():
        n = corpus_facts(path).sequences
        found = read_texts(path, {n - 1, *range(7)})
        for kind, count in (("top", 6), ("random", 2)):
            for rank in range(count):
                seq_id = n - 1 if (kind, rank) == ("top", 0) else rank + (kind == "random")
                size = len(found[seq_id].evidence)
                activations = np.random.default_rng([layer, neuron, rank]).normal(size=size).round(3)
                activations[min(2, size - 1)] = direction * (9 - rank)
                yield {
                    "split": split, "layer": layer, "neuron": neuron, "sign": sign, "kind": kind, "rank": rank,
                    "seq_id": seq_id, "peak": direction * (9 - rank), "activations": activations.tolist(),
                    "gate": None if layer == 3 else 1.5 - rank,
                }  # fmt: skip


@pytest.fixture(scope="module")
def tables(texts, tmp_path_factory):
    """(layer, neuron) -> its tables: a chunk of one neuron each."""
    folder = tmp_path_factory.mktemp("tables")
    found = {}
    for layer, neurons in LAYERS.items():
        for neuron in neurons:
            exemplars = [row for sign in SIGNS for row in shown_sequences(texts, layer, neuron, sign)]
            scored = [r for r in SCORED if (r["layer"], r["neuron"]) == (layer, neuron)]
            chosen = {(r["sign"], r["candidate"]) for r in scored if r["chosen"]}
            simulations = [
                {k: v for k, v in row.items() if k != "peak"}
                | {"candidate": candidate, "simulated": [min(10.0, abs(a)) for a in row["activations"]]}
                for row in exemplars
                for sign, candidate in chosen
                if row["sign"] == sign and row["split"] != "train"
            ]
            content = {
                "exemplars": (exemplars, EXEMPLARS),
                "statistics": (statistics(neuron, layer), STATISTICS),
                "descriptions": ([d for d in DESCRIBED if (d["layer"], d["neuron"]) == (layer, neuron)], DESCRIPTIONS),
                "scores": (scored, SCORES),
                "simulations": (simulations, SIMULATIONS),
                "concepts": ([c for c in FOUND if (c["layer"], c["neuron"]) == (layer, neuron)], CONCEPT_SCORES),
                "types": ([t for t in TYPED if t["layer"] == layer], NEURON_TYPES),
            }
            paths = {name: str(folder / f"{layer}-{neuron}-{name}.parquet") for name in content}
            for name, (rows, schema) in content.items():
                write_table(pa.Table.from_pylist(rows, schema=schema), paths[name])
            found[layer, neuron] = paths | {"rules": str(ROOT / "config/concepts/lists.yaml")}
    return found


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> str:
    """What the first neuron of layer 1 writes."""
    path = str(tmp_path_factory.mktemp("written") / "layer-1.parquet")
    row = {"layer": 1, "neuron": 5, "std": 0.1, "skew": 0.5, "kurtosis": 2.0}
    for end, turn in (("top", 1), ("bottom", -1)):
        row |= {f"{end}_token_ids": [5, 6], f"{end}_tokens": [f" {end}", HOSTILE], f"{end}_effects": [turn * 0.5, turn]}
    write_table(pa.Table.from_pylist([row], schema=OUTPUT_SIDE), path)
    return path


@pytest.fixture(scope="module")
def around(tmp_path_factory) -> dict:
    """Features like the first neuron of layer 1, one of them not described, and how its output side is borne out."""
    folder = tmp_path_factory.mktemp("around")
    alike = [(3, 9, 0.8), (1, 700, -0.5), (3, 44, 0.25)]
    rows = [{"layer": 1, "neuron": 5, "rank": rank, "neighbour_layer": layer, "neighbour": neuron, "correlation": r}
            for rank, (layer, neuron, r) in enumerate(alike)]  # fmt: skip
    write_table(pa.Table.from_pylist(rows, schema=NEIGHBOURS), folder / "neighbours.parquet")
    judged = {"layer": 1, "neuron": 5, "sign": "positive", "description": "words <b>of</b> time", "description_r": 0.3,
              "auc": 0.625, "auc_low": 0.5, "auc_high": 0.75, "auc_null": 0.51, "auc_percentile": 0.95, "n_firing": 100,
              "n_documents": 28, "reads_r": 0.1, "reads_percentile": 0.99, "agreement": "same",
              "gate_positive": 0.875}  # fmt: skip
    write_table(pa.Table.from_pylist([judged], schema=OUTPUT_SCORES), folder / "scores.parquet")
    scaled = {"layer": 1, "neuron": 5, "sign": "positive", "up_tokens": [" <i>so</i>"], "up_changes": [0.25],
              "up_effect": 3.125, "down_tokens": ["no"], "down_changes": [-1.5], "down_effect": -0.5, "n_places": 40,
              "n_others": 11, "factor": 3.0}  # fmt: skip
    write_table(pa.Table.from_pylist([scaled], schema=OUTPUT_SCALED), folder / "scaled.parquet")
    said = {"layer": 1, "neuron": 5, "sign": "positive", "words": "<i>hours</i> and days", "status": "ok", "auc": 0.875,
            "auc_low": 0.7, "auc_high": 0.95, "null_auc": 0.52, "null_percentile": 83.5, "n_held_out": 10}  # fmt: skip
    failed = {"layer": 1, "neuron": 5, "sign": "negative", "status": "refused"}
    write_table(pa.Table.from_pylist([said, failed], schema=OUTPUT_TOKENS), folder / "tokens.parquet")
    return {
        "neighbours": str(folder / "neighbours.parquet"),
        "output_scores": [str(folder / "scores.parquet")],
        "output_tokens": str(folder / "tokens.parquet"),
        "output_scaled": [str(folder / "scaled.parquet")],
    }


def listed(paths: dict[str, str]) -> dict:
    """What lies in parts of its own comes as lists."""
    return paths | {name: [paths[name]] for name in ("exemplars", "statistics")}


@pytest.fixture(scope="module")
def site(tables, texts, smollm2, written, around, tmp_path_factory) -> Path:
    """A folder with the whole atlas in it."""
    folder = tmp_path_factory.mktemp("site")
    chunks = list(tables.values())
    names = ("descriptions", "scores", "statistics", "concepts", "types")
    lists = {name: [chunk[name] for chunk in chunks] for name in names}
    build_atlas(lists | {"types": [lists["types"][0], lists["types"][2]]}, str(folder / "atlas.parquet"))
    parts = {layer: [f"chunk-{i}" for i in range(len(neurons))] for layer, neurons in LAYERS.items()}
    for layer, neurons in LAYERS.items():
        for part, neuron in zip(parts[layer], neurons):
            files = listed(tables[layer, neuron]) | ({"output_side": written, **around} if layer == 1 else {})
            details = Details([neuron], texts, files, smollm2, N_EXEMPLARS)
            write_details(layer, details, str(folder / f"details/layer-{layer}/{part}"))
            write_neuron_page(ABOUT, layer, details, str(folder / f"neuron-{layer}-{neuron}.html"))
    rows = [str(folder / f"rows/layer-{layer}.js") for layer in LAYERS]
    row = {"layer": 1, "explainer": "an explainer", "candidates": 12, "described": 9, "answers": 1234, "refused": 2}
    row |= {
        "unparsed": 0,
        "cut": 0,
        "prompt_tokens": 1_200_000,
        "completion_tokens": 40_000,
        "fresh_prompt_tokens": 600_000,
    }
    row |= {"fresh_completion_tokens": 20_000, "seconds": 100.0}
    spent = accounts([row, row | {"layer": 3}], Prices(prompt=1.0, completion=10.0))
    write_table(pa.Table.from_pylist(spent, schema=ACCOUNTS), folder / "accounting.parquet")
    details = [str(folder / f"details/layer-{layer}/{part}") for layer in LAYERS for part in parts[layer]]
    probed = {"probe": "stop", "n": 16, "true": 0.67, "wrong": 0.04, "listens": True, "rules": []}
    (folder / "probe.json").write_text(json.dumps(probed))
    write_atlas_page(
        ABOUT | {"neighbours": True},
        texts | {"atlas": str(folder / "atlas.parquet"), "accounts": str(folder / "accounting.parquet"),
                 "probe": str(folder / "probe.json"), "details": details},
        parts, 1,
        {"words": str(folder / "rows/words.js"), "rows": rows, "page": str(folder / "index.html"),
         "report": str(folder / "report.html")},
    )  # fmt: skip
    return folder


def test_atlas_of_all_chunks(site):
    rows = read_table(site / "atlas.parquet", ATLAS).to_pylist()
    assert [(r["layer"], r["neuron"], r["sign"], r["status"]) for r in rows] == [
        (1, 5, "positive", "ok"), (1, 5, "negative", "ok"),
        (1, 700, "positive", "no_activation"), (1, 700, "negative", "no_description"),
        (3, 9, "positive", "ok"), (3, 9, "negative", "no_score"),
    ]  # fmt: skip


class Prescribed:
    """A simulator: nothing for `flat`, else the true negative activations."""

    def __init__(self, truth):
        self.truth = truth

    def simulate(self, tasks):
        return [
            [0.0 if task.description == "flat" else max(0.0, -a) for a in self.truth[tuple(task.text.input_ids)]]
            for task in tasks
        ]


def test_neuron_with_one_unscored_sign_keeps_the_other(texts, tables):
    """From the scorer to the atlas: a positive side without a number, a perfect negative one."""
    paths = tables[3, 9]
    evidence = Evidence([paths["exemplars"]], [paths["statistics"]], texts, [9])
    settings = Scores(simulator=None, top=3, middle=0, random=1, race_from=1, bootstrap=20, confidence=0.9)
    others = Nulls(None, str(ROOT / "config/null-descriptions.yaml"), 1, 0)
    described, scored = [], []
    for sign, text in (("positive", "flat"), ("negative", "true")):
        truth = {
            tuple(s.text.input_ids): s.activations
            for split in ("valid", "test")
            for s in evidence.scored(split, 9, sign, 3, 0, 1)
        }
        mine = [description(9, sign, i, text, layer=3) for i in range(2)]
        described += mine
        scorer = Scorer(Prescribed(truth), "s", evidence, others, settings, dict.fromkeys(SPLITS, 72), 0)
        scored += scorer.score(3, 9, sign, mine)[0]
    found = rows_of(described, scored)
    assert [row["status"] for row in found.values()] == ["no_score", "ok"]
    assert found[3, 9, "positive"]["score_contrast"] is None
    assert found[3, 9, "negative"]["score_contrast"] == pytest.approx(1)
    assert found[3, 9, "negative"]["description"] == "true"


# --- data in pages -----------------------------------------------------------------------------------


def scripts(page):
    return re.findall(r"<script>(.*?)</script>", page.read_text(), re.DOTALL)


def test_texts_survive_their_page(site):
    """Whatever a text holds, the page has its two scripts and reads the same data back."""
    data, code = scripts(site / "neuron-1-5.html")
    assert code.strip().startswith('"use strict"')
    found = json.loads(re.fullmatch(r"\s*const ATLAS = (.*);\s*", data, re.DOTALL)[1])["neuron"]
    positive = found["signs"]["positive"]
    assert positive["candidates"][positive["best"]]["description"] == f"months{HOSTILE}"
    assert "".join(positive["exemplars"][0]["tokens"]) == HOSTILE
    (kept,) = read_neurons(site / "details/layer-1/chunk-0/0.js")
    assert kept["signs"]["positive"]["candidates"] == positive["candidates"]
    assert "".join(kept["signs"]["positive"]["exemplars"][0]["tokens"]) == HOSTILE


@pytest.mark.parametrize("text", ["</script>", "<!--<script", "]]>", "\u2028\u2029", "'\"\\", "😀 é", HOSTILE])
def test_json_for_scripts_is_plain_and_lossless(text):
    data = {"a": [text, 1.5, None, True], text: text}
    assert json.loads(_json(data)) == data
    assert "<" not in _json(data)
    assert _json(data).isascii()


def test_title_is_escaped(site, texts, smollm2, tables, tmp_path):
    details = Details([9], texts, listed(tables[3, 9]), smollm2, 2)
    write_neuron_page(ABOUT | {"subject": "</title><script>x"}, 3, details, str(tmp_path / "page.html"))
    assert len(scripts(tmp_path / "page.html")) == 2
    assert "<title>Layer 3, neuron 9 of &lt;/title&gt;" in (tmp_path / "page.html").read_text()


def test_a_page_before_the_scores_shows_the_description_and_says_what_is_missing(
    page, texts, smollm2, tables, tmp_path
):
    files = {name: file for name, file in listed(tables[3, 9]).items() if name not in ("scores", "simulations")}
    about = {name: ABOUT[name] for name in ("run", "subject", "explainer")} | {"chosen": "not yet"}
    write_neuron_page(about, 3, Details([9], texts, files, smollm2, 2), str(tmp_path / "first.html"))
    page.goto((tmp_path / "first.html").as_uri())
    said = read_table(files["descriptions"], DESCRIPTIONS).to_pylist()
    first = next(r["description"] for r in said if r["neuron"] == 9 and r["status"] == "ok")
    assert page.inner_text("blockquote.description") == first
    assert "Scores are being made" in page.inner_text("#neuron-view p.message")
    assert page.get_attribute("#neuron-view p.message a", "href") == "atlas/index.html"
    assert page.locator("dl.numbers").count() == 0 and page.locator("details.group").count() > 0


def test_a_page_calls_its_features_what_they_are(page, texts, smollm2, tables, tmp_path):
    details = Details([9], texts, listed(tables[3, 9]), smollm2, 2)
    write_neuron_page(ABOUT | {"noun": "latent"}, 3, details, str(tmp_path / "page.html"))
    page.goto((tmp_path / "page.html").as_uri())
    page.wait_for_selector("#neuron-view h2")
    assert page.inner_text("#neuron-view h2") == "Layer 3, latent 9"
    assert page.title().startswith("Layer 3, latent 9")
    assert page.inner_text("#heading").startswith("Latent descriptions")


def test_details_show_what_was_asked_for(texts, tables, smollm2):
    neuron = Details([5], texts, listed(tables[1, 5]), smollm2, N_EXEMPLARS).neuron(1, 5)
    positive = neuron["signs"]["positive"]
    counts = {}
    for record in positive["exemplars"]:
        counts[record["split"], record["kind"]] = counts.get((record["split"], record["kind"]), 0) + 1
        assert len(record["tokens"]) == len(record["activations"])
    assert counts[("train", "top")] == N_EXEMPLARS
    assert all(counts[split, "top"] == N_EXEMPLARS // 2 for split in ("valid", "test"))
    assert {record["split"] for record in positive["simulated"]} == {"test"}
    assert (positive["best"], positive["score_contrast"], positive["selection_score"]) == (1, 0.623, 0.71)
    assert [c["status"] for c in positive["candidates"]] == ["ok", "ok", "refused"]
    assert [c["selection_score"] for c in positive["candidates"]] == [0.31, 0.71, None]
    assert [c["score"] for c in positive["candidates"]] == [None, 0.623, None]


# --- the browser -------------------------------------------------------------------------------------


@pytest.fixture
def table(page, site):
    """The atlas page, its rows there."""
    page.goto((site / "index.html").as_uri())
    page.wait_for_selector("#rows tbody tr")
    return page


def cells(page, column):
    return page.locator(f"#rows tbody td:nth-child({column})").all_inner_texts()


def wait_for_rows(page, n):
    page.wait_for_function("n => document.querySelectorAll('#rows tbody tr').length === n", arg=n)


def test_table_shows_every_row(table):
    assert table.locator("#rows tbody tr").count() == 6
    assert table.get_attribute("th[data-key=score]", "aria-sort") == "descending"  # at first
    assert [text.split()[0] for text in cells(table, 5)] == ["0.57", "0.26", "−0.15", "–", "–", "–"]
    assert cells(table, 9) == ["not shown", "scored", "scored", "no activation", "no description", "no score"]
    table.click("th[data-key=layer] button")
    table.wait_for_selector("th[data-key=layer][aria-sort=ascending]")
    assert cells(table, 1) == ["1", "1", "1", "1", "3", "3"]
    assert cells(table, 2) == ["5", "5", "700", "700", "9", "9"]
    assert cells(table, 3) == ["+", "−"] * 3
    assert "a subject" in table.inner_text("#heading")


def test_the_first_screen_is_that_of_all_rows(table):
    table.wait_for_function("isLoaded()")
    first, view = table.evaluate("[ATLAS.first, viewOf()]")
    assert first == view and len(view["rows"]) == 6


def test_a_file_that_cannot_be_read_is_named(page, site, tmp_path):
    shutil.copytree(site, tmp_path / "site")
    rows = tmp_path / "site/rows/layer-3.js"
    rows.write_bytes(rows.read_bytes()[:-1000].rstrip() + b"\n")  # cut short
    page.on("pageerror", lambda error: None)
    page.goto((tmp_path / "site/index.html").as_uri())
    wait_for_rows(page, 4)
    assert "rows/layer-3.js" in page.inner_text("#message")


def test_header_says_what_explaining_took(table):
    assert table.is_hidden("#about")
    table.click("#run summary")
    shown = table.inner_text("#about")
    assert "18 of 24 candidates described in 2,468 answers, 4 refused, " in shown
    assert "2,400,000 prompt and 80,000 completion tokens, 6000 and 200 per second, $3.20" in shown
    assert "unreadable" not in shown
    links = table.locator("#run-files a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    assert links[:4] == ["atlas.parquet", "scores.svg", "provenance.json", "accounting.parquet"]
    assert links[4:] == ["../scores/probe.json"]
    assert "listens to descriptions (16 known rules of text: true ones score 0.67, wrong ones 0.04)" in shown


def test_hostile_description_is_shown_as_text(table):
    shown = table.locator("#rows tbody tr").first.locator("td.description").text_content()
    assert shown == f"months{HOSTILE}"


def test_search_narrows(table):
    table.fill("[name=q]", "MONTHS")
    wait_for_rows(table, 2)
    assert cells(table, 2) == ["5", "9"]
    table.fill("[name=q]", "months layer:3")
    wait_for_rows(table, 1)
    assert "names of Months" in cells(table, 4)[0]
    table.fill("[name=q]", "</script>")
    wait_for_rows(table, 1)
    table.fill("[name=q]", "no such words")
    wait_for_rows(table, 0)
    assert table.is_visible("#empty")
    table.click("button[type=reset]")
    wait_for_rows(table, 6)
    assert table.is_hidden("#empty")


def test_filters_narrow(table):
    table.select_option("[name=sign]", "positive")
    wait_for_rows(table, 3)
    table.fill("[name=min]", "0.2")
    wait_for_rows(table, 2)
    table.select_option("[name=status]", "not_shown")
    wait_for_rows(table, 1)
    assert cells(table, 2) == ["5"]
    table.reload()  # filters live in the address
    wait_for_rows(table, 1)


def test_rows_are_chosen_by_type(table):
    assert [cells(table, column) for column in (10, 11)] == [
        ["–", "0.25", "0.10", "–", "–", "–"], ["token", "context", "token", "none", "none", "context"]
    ]  # fmt: skip
    table.select_option("[name=type]", "context")
    wait_for_rows(table, 2)
    assert cells(table, 2) == ["9", "9"]
    table.fill("[name=q]", "type:token")
    wait_for_rows(table, 0)
    table.click("button[type=reset]")
    wait_for_rows(table, 6)
    table.fill("[name=q]", "type:none")
    wait_for_rows(table, 2)


def test_rows_are_ordered_by_density(table):
    table.click("th[data-key=log_density] button")
    table.wait_for_selector("th[data-key=log_density][aria-sort=descending]")
    assert cells(table, 12) == ["0.032 %"] * 2 + ["–"] * 4 and cells(table, 2)[:2] == ["9", "9"]


def test_without_types_nothing_speaks_of_them(page, site, tmp_path):
    shutil.copytree(site, tmp_path / "site")
    for path in (tmp_path / "site/rows").glob("layer-*.js"):
        call, data = read_script(path)
        head, arrays = unpack(data)
        head["words"]["type"] = [None for _ in head["words"]["type"]]
        arrays["direct_score"] = np.full_like(arrays["direct_score"], NONE)
        path.write_bytes(script(call, pack(head, arrays)))
    index = (tmp_path / "site/index.html").read_text()
    assert '"typed":true,"directed":true' in index
    (tmp_path / "site/index.html").write_text(index.replace(':true,"directed":true', ':false,"directed":false'))
    page.goto((tmp_path / "site/index.html").as_uri())
    page.wait_for_selector("#rows tbody tr")
    assert page.is_hidden("[name=type]") and page.is_hidden("th.type") and page.is_hidden("th.direct")


def test_parts_are_shown_and_underlined_where_they_predict(page, site):
    """A token is underlined where its own text says that the part holds, and nowhere else."""
    page.goto((site / "index.html").as_uri() + "#neuron=3/9/positive")
    page.wait_for_selector(".parts")
    assert page.locator(".parts button").all_inner_texts() == ['the word "the"', "commas"]
    assert "predicts 2" in page.inner_text(".parts") and "predicts 1.25" in page.inner_text(".parts")
    assert "elsewhere it predicts 0.1" in page.inner_text("#neuron-view")
    assert f"“{LONG.sentence}”" in page.inner_text("#neuron-view")  # another description is the chosen one
    page.locator("details.group summary").last.click()
    page.wait_for_function("() => document.querySelectorAll('.pair .fires').length")
    found = page.locator("#neuron-view .text [data-token]").evaluate_all(
        "all => all.map(e => [e.dataset.token, e.classList.contains('fires') ? e.dataset.part : null, e.title])"
    )
    expected = {"the": "0", ",": "1"}
    assert {part for _, part, _ in found} == {"0", "1", None}
    wrong = [(token, part) for token, part, _ in found if expected.get(token.strip().lower()) != part]
    # A comma within a number, or "the" within a longer word, is another word's.
    assert all(token.strip().lower() in expected and part is None for token, part in wrong) and len(wrong) < 5
    assert all(('predicted 2 by “the word "the"”' in title) == (part == "0") for _, part, title in found)
    page.click(".parts button >> nth=1")
    lit = ".text .fires:not(.other)"
    assert set(page.locator(lit).evaluate_all("all => all.map(e => e.dataset.part)")) == {"1"}
    assert page.get_attribute(".parts button >> nth=1", "aria-pressed") == "true"
    page.click(".parts button >> nth=1")
    assert set(page.locator(lit).evaluate_all("all => all.map(e => e.dataset.part)")) == {"0", "1"}


def test_parts_of_a_negative_side_predict_negative_activations(texts, tables, smollm2):
    negative = Details([5], texts, listed(tables[1, 5]), smollm2, N_EXEMPLARS).neuron(1, 5)["signs"]["negative"]
    assert negative["concepts"]["parts"] == [{"words": 'the word "the"', "weight": -2.0}]
    assert negative["concepts"]["base"] == -0.1


def test_where_no_concept_fits_no_part_is_shown(page, site):
    page.goto((site / "index.html").as_uri() + "#neuron=3/9/negative")
    page.wait_for_selector("#neuron-view h2")
    assert page.locator(".parts, .fires").count() == 0


def test_sorting_puts_missing_scores_last(table):
    def scores():
        return [text.split()[0] for text in cells(table, 5)]

    assert scores() == ["0.57", "0.26", "−0.15", "–", "–", "–"]
    table.click("th[data-key=score] button")
    table.wait_for_selector("th[data-key=score][aria-sort=ascending]")
    assert scores() == ["−0.15", "0.26", "0.57", "–", "–", "–"]


def check_neuron(page):
    """The view of 1/5/positive."""
    assert page.inner_text("#neuron-view h2") == "Layer 1, neuron 5"
    assert page.locator("#neuron-view blockquote").text_content() == f"months{HOSTILE}"
    assert "0.62" in page.inner_text("#neuron-view dl.numbers")
    first = page.locator("#neuron-view details.group").first.locator(".text").first
    spans = first.locator("span[title^='\"']")
    titles = spans.evaluate_all("all => all.map(e => JSON.parse(e.title.split('  activation ')[0]))")
    assert "".join(titles) == HOSTILE
    strengths = [float(a) for a in spans.evaluate_all("all => all.map(e => e.style.getPropertyValue('--a'))")]
    assert strengths[2] == max(strengths) == 1
    assert len(set(strengths)) > 3
    colour, other = spans.nth(2), spans.nth(strengths.index(min(strengths)))
    assert len({e.evaluate("e => getComputedStyle(e).backgroundColor") for e in (colour, other)}) == 2
    classes = set(spans.evaluate_all("all => all.map(e => e.className)"))
    assert classes == {"positive", "negative"}


def test_click_opens_the_neuron(table):
    table.locator("#rows tbody tr").first.locator("td.neuron").click()
    table.wait_for_selector("#neuron-view h2")
    assert table.url.endswith("#neuron=1/5/positive")
    assert table.is_hidden("#table-view")
    check_neuron(table)
    simulated = table.locator("#neuron-view .pair:not(.label)")
    assert simulated.count() > 10
    chosen = table.locator("#neuron-view table.candidates tr.chosen")
    assert chosen.count() == 1
    assert "months" in chosen.inner_text()
    table.go_back()
    table.wait_for_selector("#rows tbody tr")
    assert table.is_visible("#table-view")


def test_link_leads_to_a_neuron(page, site):
    page.goto((site / "index.html").as_uri() + "#neuron=3/9/negative")
    page.wait_for_selector("#neuron-view h2")
    assert page.inner_text("#neuron-view h2") == "Layer 3, neuron 9"
    assert "negative" in page.inner_text("#neuron-view .tabs [aria-current=true]")
    assert "could not be scored" in page.inner_text("#neuron-view .message")
    page.click("#neuron-view .tabs a:not([aria-current])")
    page.wait_for_selector("#neuron-view blockquote")
    assert page.inner_text("#neuron-view blockquote") == "names of Months"
    page.click("nav a:has-text('All neurons')")
    wait_for_rows(page, 6)


@pytest.mark.parametrize(("sign", "words"), [("positive", "no activation"), ("negative", "no usable description")])
def test_neuron_without_a_description_says_why(page, site, sign, words):
    page.goto((site / "index.html").as_uri() + f"#neuron=1/700/{sign}")
    page.wait_for_selector("#neuron-view h2")
    assert words in page.inner_text("#neuron-view .message")


def test_link_to_nowhere_shows_the_table(page, site):
    page.goto((site / "index.html").as_uri() + "#neuron=1/6/positive")
    wait_for_rows(page, 6)
    assert "1/6/positive" in page.inner_text("#message")


def test_a_neuron_s_page_says_what_each_sign_writes(page, site):
    lines = {}
    for neuron in ("1/5/positive", "1/5/negative", "1/700/positive", "3/9/positive"):
        page.goto((site / "index.html").as_uri() + f"#neuron={neuron}")
        page.wait_for_selector("#neuron-view h2")
        tokens = page.locator("h3:text-is('Writes') + p + dl dd")
        lines[neuron] = [[c.text_content() for c in dd.locator("code").all()] for dd in tokens.all()]
        effects = [code.get_attribute("title") for code in tokens.locator("code").all()]
        assert effects == (["+0.5", "+1", "−0.5", "−1"] if neuron.startswith("1/5") else [])
    top, bottom = [" top", HOSTILE], [" bottom", HOSTILE]
    assert lines == {
        "1/5/positive": [top, bottom],
        "1/5/negative": [bottom, top],
        "1/700/positive": [],
        "3/9/positive": [],
    }


def test_exemplars_say_their_gates_where_these_are_kept(page, site):
    """And their share: in the atlas, from the statistics, and among the numbers of the page."""
    page.goto((site / "index.html").as_uri() + "#neuron=1/5/negative")
    page.wait_for_selector("#neuron-view h2")
    shown = page.locator("details.group").first.locator(".meta").all_inner_texts()
    assert [text.rpartition("gate ")[2] for text in shown] == ["1.5", "0.5", "−0.5", "−1.5"]
    assert "GATE ABOVE 0 37.5 %" in " ".join(page.locator("dl.numbers").first.inner_text().upper().split())
    page.goto((site / "index.html").as_uri() + "#neuron=3/9/negative")
    page.wait_for_function("document.querySelector('#neuron-view h2').textContent === 'Layer 3, neuron 9'")
    assert "gate " not in page.inner_text("#neuron-view")
    atlas = read_table(site / "atlas.parquet", ATLAS).to_pandas()
    assert atlas[atlas.layer == 1].gate_positive.tolist() == [75.0, 37.5] * 2
    assert atlas[atlas.layer == 3].gate_positive.isna().all()


def test_a_neuron_s_page_says_whether_its_output_side_is_borne_out(page, site):
    page.goto((site / "index.html").as_uri() + "#neuron=1/5/positive")
    said = page.locator("dl.judged").inner_text()
    assert all(words in said for words in ("words <b>of</b> time", "0.63 [0.50, 0.75]", "0.51", "95 %", "87.5 %"))
    page.goto((site / "index.html").as_uri() + "#neuron=1/5/negative")
    page.wait_for_selector("[data-sign=negative]")
    assert page.locator("dl.judged").count() == 0


def test_a_neuron_s_page_has_the_explainer_s_words_beside_those_of_the_search(page, site):
    page.goto((site / "index.html").as_uri() + "#neuron=1/5/positive")
    said = page.locator("dl.explained").inner_text()
    assert all(words in said for words in ("<i>hours</i> and days", "0.88 [0.70, 0.95]", "0.52", "83.5 %"))
    page.goto((site / "index.html").as_uri() + "#neuron=1/5/negative")
    page.wait_for_selector("[data-sign=negative]")
    assert "the explainer refused" in page.locator("dl.explained").inner_text()
    page.goto((site / "index.html").as_uri() + "#neuron=3/9/positive")
    page.wait_for_function("document.querySelector('#neuron-view h2').textContent === 'Layer 3, neuron 9'")
    assert page.locator("dl.explained").count() == 0


def test_a_neuron_s_page_says_what_scaling_it_changes(page, site):
    page.goto((site / "index.html").as_uri() + "#neuron=1/5/positive")
    said = page.locator("dl.scaled").inner_text()
    assert [" ".join(line.split()) for line in said.splitlines() if "effect" in line] == [
        "<i>so</i> effect 3.1", "no effect −0.5"
    ]  # fmt: skip
    assert page.locator("dl.scaled code").last.get_attribute("title") == "−1.5"
    assert "at 40 tokens of the panel" in page.inner_text("#neuron-view") and "11 other" in page.inner_text(
        "#neuron-view"
    )
    page.goto((site / "index.html").as_uri() + "#neuron=1/5/negative")
    page.wait_for_selector("[data-sign=negative]")
    assert page.locator("dl.scaled").count() == 0


@pytest.mark.parametrize("sign", ["positive", "negative"])
def test_features_like_one_are_led_to(page, site, sign):
    other = "negative" if sign == "positive" else "positive"
    page.goto((site / "index.html").as_uri() + f"#neuron=1/5/{sign}")
    page.locator(".alike li", has_text="not described").wait_for()
    names = page.locator(".alike li").evaluate_all("all => all.map((one) => one.dataset.place)")
    assert names == [f"3/9/{sign}", f"1/700/{other}", f"3/44/{sign}"]
    assert [text.split(" r ")[1][:5].rstrip(":") for text in page.locator(".alike li").all_inner_texts()] == [
        "0.80", "−0.50", "0.25 "
    ]  # fmt: skip
    assert page.locator(".alike a").count() == 2
    page.click(".alike a")
    page.wait_for_function("document.querySelector('#neuron-view h2').textContent === 'Layer 3, neuron 9'")
    assert page.locator("#neuron-view section").get_attribute("data-sign") == sign


def shown_places(page) -> list[str]:
    """Places of the table's rows."""
    return page.locator("#rows tbody tr a").evaluate_all("all => all.map((one) => one.hash.split('neuron=')[1])")


def test_features_like_one_are_rows_of_the_table_the_nearest_first(page, site):
    """By a link on its page, whose address is kept; by typing; of those that are described."""
    page.goto((site / "index.html").as_uri() + "#q=brackets&neuron=1/5/negative")
    page.click("#show-alike")
    page.wait_for_selector("#rows tbody .near")
    assert page.evaluate("location.hash") == "#like=1/5/negative"
    expected = ["3/9/negative", "1/700/positive"]  # the third is not described
    assert shown_places(page) == expected
    assert page.locator("#rows .near").all_inner_texts() == ["r 0.80", "r −0.50"]
    page.reload()
    page.wait_for_selector("#rows tbody .near")
    assert shown_places(page) == expected and page.get_by_label("Features like").input_value() == "1/5/negative"
    page.click("#rows tbody tr:nth-child(2) a")
    page.wait_for_selector("#neighbours a")
    assert page.locator("#neighbours a").all_inner_texts() == ["previous row"]  # of these rows
    page.click("#neighbours a")
    page.wait_for_function("document.querySelector('#neuron-view h2').textContent === 'Layer 3, neuron 9'")
    page.goto((site / "index.html").as_uri() + "#sign=positive")
    page.get_by_label("Features like").fill("1/5")
    page.wait_for_selector("#rows tbody .near")
    assert shown_places(page) == ["3/9/positive"]
    for place in ("3/9/positive", "1/55", "what"):
        page.get_by_label("Features like").fill(place)
        page.wait_for_function("(place) => document.querySelector('#message').textContent.includes(place)",
                               arg=f"features like {place};")  # fmt: skip
        assert page.is_visible("#empty")
    page.click("#filters button[type=reset]")
    page.wait_for_selector("#message", state="hidden")
    assert page.is_hidden("#empty") and len(shown_places(page)) == 6


def test_where_no_neighbours_are_known_they_are_not_asked_for(page, site, tmp_path):
    shutil.copytree(site, tmp_path / "site")
    index = tmp_path / "site/index.html"
    text = index.read_text()
    assert text.count('"neighbours":true') == 1
    index.write_text(text.replace('"neighbours":true', '"neighbours":false'))
    page.goto(index.as_uri())
    page.wait_for_selector("#rows tbody tr")
    assert page.is_hidden("[name=like]")


def test_other_rows_of_the_same_description_are_named(table):
    table.wait_for_function("isLoaded()")
    table.evaluate("""() => { const block = blocks.get(3), own = blocks.get(1);
        block.order[0] = own.order[indexOf(1, 5, 'positive') - own.first]; location.hash = '#neuron=1/5/positive'; }""")
    table.wait_for_selector("#collisions a")
    assert table.inner_text("#collisions").startswith("1 other row has this very description")
    assert table.get_attribute("#collisions a", "href") == "#neuron=3/9/positive"


@pytest.mark.parametrize("denied", [False, True])
def test_a_feature_is_copied_as_json_and_as_a_link(page, site, denied):
    """denied: the browser gives no clipboard, as in a frame; then a selection is copied."""
    page.goto((site / "index.html").as_uri() + "#neuron=1/5/negative")
    page.wait_for_selector(".copies")
    page.evaluate(
        """(denied) => { window.kept = null; navigator.clipboard.writeText = (text) => denied
        ? Promise.reject(new Error('no')) : (window.kept = text, Promise.resolve());
        document.execCommand = () => { window.kept = document.activeElement.value; return true; }; }""",
        denied,
    )
    page.get_by_role("button", name="Copy link").press("Enter")  # by the keyboard
    page.get_by_role("status").filter(has_text="Copied the link").wait_for()
    assert page.evaluate("document.activeElement.textContent") == "Copy link"
    link = page.evaluate("window.kept")
    assert link == (site / "index.html").as_uri() + "#neuron=1/5/negative"
    page.get_by_role("button", name="Copy as JSON").press("Space")
    page.get_by_role("status").filter(has_text="as JSON").wait_for()
    copied = json.loads(page.evaluate("window.kept"))
    (part,) = [read_neurons(path) for path in (site / "details/layer-1/chunk-0").iterdir()]
    assert {name: copied[name] for name in part[0]} == json.loads(json.dumps(part[0]))
    assert copied["run"] == ABOUT["run"] and copied["neuron"] == 5


def test_charts_are_drawn_when_they_are_opened(table, site):
    assert table.locator("figure").count() == 0
    table.click("#graphs > summary")
    table.locator("figcaption strong").nth(4).wait_for()
    captions = table.locator("figcaption strong").all_inner_texts()
    assert captions == [
        "Scores by layer.", "How the scores are spread.", "Description against look-up.", "Types by layer.",
        "What describing took.",
    ]  # fmt: skip
    figure = table.locator("figure").first
    figure.locator("summary").click()
    first, second = (
        [cell.inner_text() for cell in row.locator("td").all()] for row in figure.locator("tbody tr").all()
    )
    rows = read_table(site / "atlas.parquet", ATLAS).to_pandas().query("status == 'ok'")  # without a panel
    medians = [f"{value:.2f}".replace("-", "−") for value in rows.groupby("layer")["score_contrast"].median()]
    assert [first[0], second[0]] == medians and first[2] == str((rows["layer"] == 1).sum())
    assert table.locator("figure svg[role=img]").count() == 5


@pytest.mark.parametrize(("place", "first"), [("1/5/positive", "Score"), ("3/9/positive", "Sequence AUC")])
def test_what_tells_most_of_a_type_stands_first(page, site, place, first):
    page.goto((site / "index.html").as_uri() + f"#neuron={place}")
    page.wait_for_selector("#neuron-view dl.numbers")
    assert page.locator("#neuron-view dl.numbers dt").first.inner_text() == first


def test_page_of_one_neuron_needs_no_other_file(page, site, tmp_path):
    shutil.copy(site / "neuron-1-5.html", tmp_path / "alone.html")
    page.goto((tmp_path / "alone.html").as_uri() + "#neuron=1/5/positive")
    page.wait_for_selector("#neuron-view h2")
    check_neuron(page)


@pytest.mark.parametrize("tested", ["table", "neuron"])
def test_nothing_is_wider_than_the_window(page, site, tested):
    page.goto((site / "index.html").as_uri() + ("#neuron=1/5/positive" if tested == "neuron" else ""))
    page.wait_for_selector("#neuron-view h2" if tested == "neuron" else "#rows tbody tr")
    for width in (360, 480, 740, 960, 1060, 1200, 1400):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("tested", ["table", "neuron"])
def test_axe_finds_nothing_serious(page, site, tested):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    serious = []
    for scheme in ("light", "dark"):
        for width in (360, 1280):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": 800})
            page.goto("about:blank")
            page.goto((site / "index.html").as_uri() + ("#neuron=1/5/positive" if tested == "neuron" else ""))
            page.wait_for_selector("#neuron-view h2" if tested == "neuron" else "#rows tbody tr")
            if tested == "table":
                page.click("#graphs > summary")
                page.wait_for_selector("figure")
            page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
            found = axe.run(page).response
            assert len(found["passes"]) > 20
            serious += [
                (scheme, width, one["id"], one["nodes"][0]["html"])
                for one in found["violations"]
                if one["impact"] in ("serious", "critical")
            ]
    assert serious == []


@pytest.mark.parametrize(
    ("asked", "places"),
    [
        ("1/5", ["1/5/+", "1/5/−"]),
        ("3/9/negative", ["3/9/−"]),
        ("layer:2-7", ["3/9/+", "3/9/−"]),
        ('"names of" neuron:9', ["3/9/+"]),
        ("of names", ["3/9/+"]),
        ('"of names"', []),
        ("égalité brackets", ["1/5/−"]),
        ("brackets ÉGALITÉ", ["1/5/−"]),
        ("brackets names", []),
        ("status:not_shown", ["1/5/+"]),
    ],
)
def test_search_understands_places_ranges_and_phrases(table, asked, places):
    table.fill("[name=q]", asked)
    wait_for_rows(table, len(places))
    assert ["/".join(place) for place in zip(*(cells(table, column) for column in (1, 2, 3)))] == places


def test_search_marks_what_it_found(table):
    table.fill("[name=q]", "months")
    wait_for_rows(table, 2)
    assert table.locator("#rows mark").all_inner_texts() == ["months", "Months"]
    assert table.locator("td.description").first.text_content() == f"months{HOSTILE}"


@pytest.fixture
def neuron_page(page, site):
    """The page of a neuron, its simulated lines open."""
    page.goto((site / "neuron-1-5.html").as_uri() + "#neuron=1/5/positive")
    page.wait_for_selector("#neuron-view h2")
    page.locator("details.group").evaluate_all("all => all.forEach(one => one.open = true)")
    page.wait_for_selector(".pair .second")
    return page


def test_tokens_are_read_by_touch_and_keyboard(neuron_page):
    neuron_page.locator(".text").first.focus()
    for _ in range(3):
        neuron_page.keyboard.press("ArrowRight")
    assert neuron_page.inner_text("#reading").endswith("activation 9")
    neuron_page.keyboard.press("ArrowLeft")
    assert not neuron_page.inner_text("#reading").endswith("activation 9")
    neuron_page.locator(".pair .second").nth(2).click()
    assert neuron_page.inner_text("#reading").endswith("true 9, simulated 9 of 10")


def test_a_copied_text_stands_there_once(neuron_page):
    copied = """line => {
        getSelection().selectAllChildren(line);
        const event = new ClipboardEvent("copy", {clipboardData: new DataTransfer(), bubbles: true, cancelable: true});
        line.dispatchEvent(event);
        return event.clipboardData.getData("text/plain");
    }"""
    assert neuron_page.locator(".text:has(.pair)").first.evaluate(copied) == HOSTILE
    assert neuron_page.locator(".text").first.evaluate(copied) == HOSTILE


def test_simulated_lines_are_shaded_on_their_own_scale(neuron_page):
    second = neuron_page.locator(".pair .second").nth(2)
    assert second.evaluate("e => e.style.getPropertyValue('--a')") == "0.900"


@pytest.mark.parametrize("media", [{"media": "print"}, {"forced_colors": "active"}])
def test_shading_and_marks_survive(neuron_page, media):
    neuron_page.emulate_media(**media)
    shaded = neuron_page.locator(".text [data-token]").nth(2)
    assert shaded.evaluate("e => getComputedStyle(e).printColorAdjust") == "exact"
    assert shaded.evaluate("e => getComputedStyle(e).forcedColorAdjust") == "none"
    assert shaded.evaluate("e => getComputedStyle(e).backgroundColor").startswith("rgb(")
    assert neuron_page.locator(".bar .score").first.evaluate("e => getComputedStyle(e).forcedColorAdjust") == "none"


def test_the_legend_explains_the_columns(table):
    table.click("#legend summary")
    shown = table.inner_text("#legend")
    assert all(column.words in shown for column in COLUMNS if column.name in ("r2", "best_null_score", "chance"))


def test_page_for_a_report_needs_nothing_else(page, site, tmp_path):
    """It stands in a frame as a data: address, as Snakemake puts it."""
    address = "data:text/html;base64," + base64.b64encode((site / "report.html").read_bytes()).decode()
    (tmp_path / "report.html").write_text(f'<iframe src="{address}" width="1200" height="800"></iframe>')
    page.goto((tmp_path / "report.html").as_uri())
    frame = page.frame_locator("iframe")
    frame.locator("#rows tbody tr").nth(5).wait_for()
    assert frame.locator("#message").is_hidden()
    frame.locator("#run summary").click()
    assert "$3.20" in frame.locator("#about").inner_text()
    frame.locator("td.neuron").first.click()
    frame.locator("#neuron-view blockquote").wait_for()
    assert frame.locator("#neuron-view blockquote").text_content() == f"months{HOSTILE}"


def test_a_report_keeps_the_best_that_there_is_room_for(monkeypatch):
    monkeypatch.setattr(pages, "REPORT_BYTES", 4000)
    noise = np.random.default_rng(0)
    neurons = [f'"{noise.bytes(500).hex()}"' for _ in range(50)]
    packed = _packed(b"words", [b"rows"], iter(neurons))
    assert len(packed["details"]) < 4100
    assert [base64.b64decode(text) for text in packed["rows"]] == [b"rows"]
    kept = [json.dumps(one) for one in json.loads(gzip.decompress(base64.b64decode(packed["details"])))[1:]]
    assert 2 < len(kept) < 10 and kept == neurons[: len(kept)]


# --- the plot ----------------------------------------------------------------------------------------


def test_plot_is_an_svg_of_the_same_bytes_every_time(site, tmp_path):
    for name in ("a.svg", "b.svg"):
        plot_scores(str(site / "atlas.parquet"), str(site / "accounting.parquet"), str(tmp_path / name))
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    text = (tmp_path / "a.svg").read_text()
    assert all(label in text for label in ("token baseline", "that are not the neuron's", "layer", "bigram"))


def test_plot_without_scores_is_an_svg_too(tables, tmp_path):
    paths = tables[1, 700]
    lists = {name: [paths[name]] for name in ("descriptions", "scores", "statistics")}
    build_atlas(lists, str(tmp_path / "atlas.parquet"))
    for name in ("a.svg", "b.svg"):
        plot_scores(str(tmp_path / "atlas.parquet"), None, str(tmp_path / name))
    assert ElementTree.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert "no row has status ok" in (tmp_path / "a.svg").read_text()
