"""Collisions: descriptions of a layer that say the same, by words and by predictions."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from neuron_descriptions.common.storage import write_table
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.scorers import Scorer
from neuron_descriptions.config.scores import Scores
from neuron_descriptions.descriptions.tables import DESCRIPTIONS
from neuron_descriptions.scores.opening import Job, run_scorer
from neuron_descriptions.scores.tables import SCORES, SHARED

SAID = {
    (1, "positive"): "rivers", (2, "positive"): "rivers", (3, "positive"): "streams", (4, "positive"): "noise",
    (4, "negative"): "nothing", (5, "positive"): "unheard",
}  # fmt: skip


@pytest.fixture
def tables(tmp_path):
    random, rivers = np.random.default_rng(0), np.random.default_rng(1).random(60)
    predicted = {"rivers": rivers, "streams": rivers * 3 + 0.01 * random.random(60), "noise": random.random(60),
                 "nothing": np.ones(60)}  # fmt: skip
    rows = [{"layer": 0, "neuron": n, "sign": s, "description": d, "simulated": predicted[d].tolist()}
            for (n, s), d in SAID.items() if d in predicted]  # fmt: skip
    who = [{"layer": 0, "neuron": n, "sign": s, "candidate": 0, "description": d} for (n, s), d in SAID.items()]
    paths = {}
    # The layer's predictions stand in two parts, in no order.
    for name, schema, found in (
        ("shared-0", SHARED, rows[3:]), ("shared-1", SHARED, rows[:3]),
        ("descriptions", DESCRIPTIONS, [row | {"explainer": "x", "status": "ok"} for row in who]),
        ("scores", SCORES, [row | {"kind": "candidate", "split": "test", "chosen": True} for row in who]),
    ):  # fmt: skip
        paths[name] = str(tmp_path / f"{name}.parquet")
        write_table(pa.Table.from_pylist(found, schema=schema), paths[name])
    return paths | {"out": str(tmp_path / "scored.parquet")}


def scored(tables, shared, neurons=(1, 2, 3, 4, 5)):
    given = {name: tables[name] for name in ("descriptions", "scores")} | {"shared": shared}
    section = restored(Scorer, {"kind": "collisions"})
    run_scorer(Job("c", section, Scores(simulator=None), list(neurons), 0, given, "", "c", "code", 0, 1), tables["out"])
    return {(row["neuron"], row["sign"]): row for row in pq.read_table(tables["out"]).to_pylist()}


def test_the_same_words_and_nearly_the_same_predictions_are_counted(tables):
    rows = scored(tables, [tables["shared-0"], tables["shared-1"]])
    one, streams, noise, nothing = (rows[key] for key in list(SAID)[:1] + list(SAID)[2:5])
    assert (one["same"], one["nearly_same"], one["nearest"], one["n_compared"]) == (1, 2, "2/positive", 4)
    assert one["nearest_r"] == pytest.approx(1.0) and one["nearest_description"] == "rivers"
    assert (streams["same"], streams["nearly_same"]) == (0, 2) and 0.95 < streams["nearest_r"] < 1
    assert (noise["same"], noise["nearly_same"]) == (0, 0) and abs(noise["nearest_r"]) < 0.6
    # What predicts nothing is like nothing.
    assert (nothing["status"], nothing["nearly_same"], nothing["nearest_r"], nothing["nearest"]) == (
        "ok",
        0,
        None,
        None,
    )
    assert rows[5, "positive"]["status"] == "not_simulated"
    # Whichever of the layer's neurons a part has, their rows are the same.
    assert scored(tables, [tables["shared-1"], tables["shared-0"]], [3]) == {(3, "positive"): streams}


def test_a_neuron_alone_is_compared_with_nothing(tables):
    rows = scored(tables, [], [1])
    assert rows[1, "positive"]["status"] == "not_simulated" and rows[1, "positive"]["same"] is None
