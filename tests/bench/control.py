"""The control, and two corpora: by how much scores tell a subject that has learnt something from one that has not, and
whether the ranking of neurons keeps on other text. Lists of concepts, executed: nothing is simulated."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from executed import LAYER, NEURONS, SEED, Rows, demo_rows, said, vocabulary
from neuron_descriptions.atlas.comparison import mean_over_neurons, means_over_neurons
from neuron_descriptions.common.storage import read_table
from neuron_descriptions.common.streams import generator
from neuron_descriptions.concepts.evidence import TextTable, exemplars_of
from neuron_descriptions.concepts.search import find_list
from neuron_descriptions.models.loading import load_tokenizer, token_strings
from neuron_descriptions.models.untrained import write_random_model
from neuron_descriptions.panel.tables import NEURON_TYPES
from neuron_descriptions.panel.types import type_neurons
from neuron_descriptions.scores.evidence import Evidence
from neuron_descriptions.scores.formulas import spearman
from neuron_descriptions.scores.sampling import weighted_auc
from nulls import NUMBERS, splits

NULLS, DRAWS = 20, 2000
CORPORA = {"factbook": ("factbook",), "others": ("sotu", "chitchat")}
VALID = 4  # of so many of a corpus's sequences, one is valid; the others are train


def measure(scratch: Path) -> dict[str, Any]:
    """The figures of this section."""
    trained = demo_rows(scratch)
    write_random_model(trained.model, SEED, str(scratch / "model"))
    untrained = Rows(str(scratch / "model"), trained.corpus, scratch / "random").made()
    return control({"trained": trained, "random": untrained}, scratch) | two_corpora(trained)


def control(subjects: dict[str, Rows], scratch: Path) -> dict[str, Any]:
    """Means of direct scores and of those of other neurons' lists, and how random ones compare with trained ones: rows
    without a list count as 0."""
    figures: dict[str, Any] = {}
    found = {name: _with_nulls(rows) for name, rows in subjects.items()}
    for name, rows in subjects.items():
        out = str(scratch / f"{name}-types.parquet")
        type_neurons({p: rows.corpus[p] for p in ("panel", "panel_test")},
                     {p: rows.path(p) for p in ("panel", "panel_test")}, LAYER, out)  # fmt: skip
        types = pc.value_counts(read_table(out, NEURON_TYPES)["type"]).to_pylist()
        figures[f"{name}_types"] = {v["values"]: v["counts"] for v in types}
        figures[f"{name}_rows"] = len(found[name])
        figures[f"{name}_without_a_list"] = sum(not row["said"] for row in found[name])
    for score in ("natural", "contrast"):
        for name, of in found.items():
            for column in (score, f"{score}_null"):
                figures[f"{name}_{column}"] = mean_over_neurons([r[column] for r in of], [r["place"] for r in of])
        above = {
            name: means_over_neurons([r[score] - r[f"{score}_null"] for r in of], [r["place"] for r in of], name)
            for name, of in found.items()
        }
        (trained, trained_R), (untrained, random_R) = above["trained"], above["random"]
        figures[f"{score}_above_null_random_to_trained"] = (untrained / trained, *_ends(random_R / trained_R))
        both = [row[score] - row[f"{score}_null"] for name in subjects for row in found[name]]
        learnt = np.repeat([name == "trained" for name in subjects], [len(found[name]) for name in subjects])
        figures[f"{score}_auc_trained_against_random"] = weighted_auc(both, learnt, np.ones(len(both)))
    return figures


def _with_nulls(rows: Rows) -> list[dict[str, Any]]:
    """Of both signs of each neuron its list's direct scores, on the panel and on the contrast sequences, and the means
    of those of NULLS other neurons' lists."""
    reader, test, scored = vocabulary(), rows.panel("panel_test"), rows.scores()
    evidence = Evidence([rows.path("exemplars")], [rows.path("statistics")], splits(rows), rows.neurons)
    held_N = [predicates for tokens in test.strings for predicates in reader.held(tokens)]
    tokenizer = load_tokenizer(rows.model)
    lists = [(row["neuron"], found) for row in scored if (found := said(row))]
    on_panel = [found.predict_held(held_N) for _, found in lists]
    of_test: dict[int, list] = {}
    found = []
    for row in scored:
        sequences = evidence.scored("test", row["neuron"], row["sign"], **NUMBERS)
        for s in sequences:
            if s.seq_id not in of_test:
                of_test[s.seq_id] = reader.held(token_strings(tokenizer, s.text.evidence))
        held = [predicates for s in sequences for predicates in of_test[s.seq_id]]
        true = {
            "natural": rows.true(test, row),
            "contrast": np.concatenate([s.one_side(row["sign"]) for s in sequences]),
        }
        drawn = generator(SEED, "control", row["neuron"], row["sign"]).permutation(len(lists))
        others = [i for i in drawn if lists[i][0] != row["neuron"]][:NULLS]
        nulls = {
            "natural": [on_panel[i] for i in others],
            "contrast": [lists[i][1].predict_held(held) for i in others],
        }
        direct = {"natural": row["direct_score"], "contrast": row["direct_score_contrast"]}
        found.append(
            {"place": (LAYER, row["neuron"]), "said": said(row) is not None}
            | {name: value or 0.0 for name, value in direct.items()}
            | {f"{name}_null": float(np.mean([_r(p, true[name]) for p in nulls[name]])) for name in nulls}
        )
    return found


def two_corpora(rows: Rows) -> dict[str, Any]:
    """Spearman correlations over rows of direct scores on two parts of the sources: of the same lists, and of lists
    found on either part's own text of the panel. 95 % intervals: bootstrap over neurons."""
    reader, panels = vocabulary(), {name: rows.panel(name) for name in ("panel", "panel_test")}
    parts = {
        part: {
            name: [i for i, text in enumerate(panel.sequences) if text.source in sources]
            for name, panel in panels.items()
        } for part, sources in CORPORA.items()
    }  # fmt: skip
    test = panels["panel_test"]
    held_S = [reader.held(tokens) for tokens in test.strings]
    found: dict[str, list[float]] = {f"{part}_{how}": [] for part in parts for how in ("same", "anew")}
    tables = {
        part: TextTable({i: panels["panel"].strings[i] for i in of["panel"]}, reader) for part, of in parts.items()
    }
    scored = rows.scores()
    for row in scored:
        true = {name: _by_sequence(rows.true(panel, row), panel) for name, panel in panels.items()}
        same = said(row)
        for part, of in parts.items():
            train, valid = (
                exemplars_of(
                    tables[part], {i: true["panel"][i] for n, i in enumerate(of["panel"]) if (n % VALID == 0) == held}
                )
                for held in (False, True)
            )
            anew = find_list(tables[part], train, valid)
            there = np.concatenate([true["panel_test"][i] for i in of["panel_test"]])
            for how, concepts in (("same", same), ("anew", anew if anew.parts else None)):
                held = [predicates for i in of["panel_test"] for predicates in held_S[i]]
                found[f"{part}_{how}"].append(_r(concepts.predict_held(held), there) if concepts else 0.0)
    one, other = CORPORA
    neurons = np.array([row["neuron"] for row in scored])
    figures: dict[str, Any] = {"rows": len(scored)}
    figures |= {f"{part}_tokens": int(test.lengths[of["panel_test"]].sum()) for part, of in parts.items()}
    for how in ("same", "anew"):
        figures |= {f"{part}_{how}_mean": float(np.mean(found[f"{part}_{how}"])) for part in parts}
        figures[f"spearman_{how}"] = _spearman(found[f"{one}_{how}"], found[f"{other}_{how}"], neurons)
    return figures | {"spearman_of_random_parts": _random_parts(rows, len(parts[one]["panel_test"]), neurons)}


def _random_parts(rows: Rows, first: int, neurons: NDArray[np.int64]) -> tuple[float, float, float]:
    """What the same lists have on two parts of the same sizes that are drawn at random: without another corpus."""
    reader, test = vocabulary(), rows.panel("panel_test")
    held_S = [reader.held(tokens) for tokens in test.strings]
    order = generator(SEED, "random parts").permutation(len(held_S))
    found: list[list[float]] = [[], []]
    for row in rows.scores():
        true_S, concepts = _by_sequence(rows.true(test, row), test), said(row)
        for part, places in zip(found, (order[:first], order[first:])):
            held, there = [p for i in places for p in held_S[i]], np.concatenate([true_S[i] for i in places])
            part.append(_r(concepts.predict_held(held), there) if concepts else 0.0)
    return _spearman(*found, neurons)


def _spearman(one: list[float], other: list[float], neurons: NDArray[np.int64]) -> tuple[float, float, float]:
    a, b = np.array(one), np.array(other)
    return spearman(a, b), *_ends(_spearmans(a, b, neurons))


def _spearmans(a: NDArray[np.float64], b: NDArray[np.float64], neurons: NDArray[np.int64]) -> NDArray[np.float64]:
    rows_of = [np.flatnonzero(neurons == neuron) for neuron in np.unique(neurons)]
    random = generator(SEED, "two corpora")
    draws = (np.concatenate([rows_of[i] for i in random.integers(NEURONS, size=NEURONS)]) for _ in range(DRAWS))
    return np.array([spearman(a[rows], b[rows]) for rows in draws])


def _by_sequence(values_N: NDArray[np.float64], panel: Any) -> list[NDArray[np.float64]]:
    return np.split(values_N, np.cumsum(panel.lengths)[:-1])


def _r(predicted: NDArray[np.float64], true: NDArray[np.float64]) -> float:
    """Correlation; 0 where the prediction does not vary, as of a list that never fires here."""
    if np.ptp(predicted) == 0 or np.ptp(true) == 0:
        return 0.0
    return float(np.corrcoef(predicted, true)[0, 1])


def _ends(draws: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(draws, (0.025, 0.975))
    return float(low), float(high)
