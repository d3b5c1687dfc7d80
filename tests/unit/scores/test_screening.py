"""A race that a small simulator starts: what it keeps, and what the large one then chooses."""

import numpy as np
import pyarrow as pa
import pytest

from conftest import changed, tiny_config
from neuron_descriptions.common.storage import write_table
from neuron_descriptions.config.scores import Scores, Screen, Simulator
from neuron_descriptions.config.sections import load_config
from neuron_descriptions.corpus.reading import Text
from neuron_descriptions.harvest.exemplars import KINDS, Exemplar
from neuron_descriptions.scores.chance import Null
from neuron_descriptions.scores.predictions import Predictions
from neuron_descriptions.scores.screening import Screener
from neuron_descriptions.scores.simulation import Scorer
from neuron_descriptions.scores.tables import SCREENED

COUNTS = {"top": 4, "middle": 1, "random": 1}
SETTINGS = Scores(simulator=None, bootstrap=20, confidence=0.95, race_from=None, **COUNTS)


class Evidence:
    """Two neurons, each driven by one token; token n drives neuron n."""

    def scored(self, split, neuron, sign, top, middle, random):
        drawn = np.random.default_rng([neuron, split == "test"])
        kinds = [kind for kind, n in zip(KINDS, (top, middle, random)) for _ in range(n)]
        found = []
        for rank, kind in enumerate(kinds):
            ids = drawn.integers(0, 12, 30).tolist()
            acts = np.where(np.array(ids) == neuron, 5.0, 0.0) + 0.1 * drawn.random(30)
            acts = acts.astype(np.float32)
            found.append(Exemplar(split, 1, neuron, sign, kind, rank, rank, Text("s", ids, 0), acts, 5.0))
        return found

    def active(self, neuron, sign):
        return 1.0

    def token_baseline(self, neuron, sign, n_train):
        return self

    def predict(self, ids):
        return np.array([1.0 * (i == 3) for i in ids])


class Nulls:
    def draw(self, layer, neuron, sign):
        return [Null("other", "file", "fires on 11")]


class Listening:
    """Fires on the token that a description ends with, mistaking by so much of its own."""

    def __init__(self, noise):
        self.noise, self.asked, self.tokens, self.shared_tokens = noise, [], 0, 0

    def simulate(self, tasks):
        self.asked += [task.description for task in tasks]
        found = []
        for task in tasks:
            own = np.random.default_rng([len(self.asked), *task.text.input_ids[:3]])
            wanted = int(task.description.split()[-1])
            found.append([8.0 * (i == wanted) + self.noise * own.random() for i in task.text.evidence])
        return found


def candidates(*tokens):
    return [{"candidate": i, "description": f"fires on {t}", "status": "ok"} for i, t in enumerate(tokens)]


def screened(rows, keep=3, noise=3.0, **more):
    simulator = Listening(noise)
    settings = SETTINGS.model_copy(update={"screen": Screen(simulator=Simulator(model="small"), keep=keep)})
    screener = Screener(simulator, "small", Evidence(), settings, **more)
    return screener.screen(1, 3, "positive", rows), simulator


def test_the_right_description_is_kept_and_equals_share_their_fate():
    rows = candidates(7, 3, 8, 9, 3, 10, 0)
    found, simulator = screened(rows, keep=2)
    assert [row["candidate"] for row in found] == [0, 1, 2, 3, 4, 5, 6]
    kept = {row["description"] for row in found if row["kept"]}
    assert len(kept) == 2 and "fires on 3" in kept
    assert found[1]["kept"] and found[4]["kept"] and found[1]["correlation"] == found[4]["correlation"] > 0.8
    assert len(simulator.asked) == 6 * 6  # six distinct descriptions, six sequences
    pa.Table.from_pylist(found, schema=SCREENED)
    worst = min(row["correlation"] for row in found if row["kept"])
    assert all(row["correlation"] <= worst for row in found if not row["kept"])


def test_as_few_candidates_as_are_kept_are_not_screened():
    found, simulator = screened([*candidates(3, 4, 5), {"candidate": 3, "description": None, "status": "unparsed"}])
    assert (found, simulator.asked) == ([], [])


def test_of_equal_and_of_undefined_matches_the_first_candidates_are_kept():
    found, _ = screened(candidates(20, 21, 22), keep=1, noise=0.0)  # tokens that never come: constant predictions
    assert [(row["correlation"], row["kept"]) for row in found] == [(None, True), (None, False), (None, False)]


def test_resumption_simulates_nothing_again_and_changes_nothing(tmp_path):
    rows = candidates(*range(8))
    first, simulator = screened(rows, kept=Predictions(str(tmp_path / "kept.bin"), "m"))
    again, silent = screened(rows, kept=Predictions(str(tmp_path / "kept.bin"), "m"))
    assert again == first and simulator.asked and not silent.asked


def scored(rows, screen_rows):
    large = Listening(0.1)
    scorer = Scorer(large, "large", Evidence(), Nulls(), SETTINGS, dict.fromkeys(("train", "valid", "test"), 50), 0)
    return *scorer.score(1, 3, "positive", rows, screen_rows), large


def test_the_large_simulator_reads_what_is_kept_and_chooses_as_it_would_of_all(tmp_path):
    rows = candidates(7, 3, 8, 9, 3, 10, 0)
    screen_rows, _ = screened(rows, keep=2)
    full, full_simulations, reads_all = scored(rows, ())
    found, simulations, reads_kept = scored(rows, screen_rows)
    choice = [r["candidate"] for r in full if r["chosen"]]
    assert [r["candidate"] for r in found if r["chosen"]] == choice == [1, 1]
    kept = {row["description"] for row in screen_rows if row["kept"]}
    assert set(reads_kept.asked) == kept | {"fires on 11"} < set(reads_all.asked)
    assert {s["candidate"] for s in simulations} == {s["candidate"] for s in full_simulations} == {1}
    # Those that were sorted out are told, with the small one's name and no number, and count as tried.
    tried = {r["candidate"]: r for r in found if r["kind"] == "candidate" and r["split"] == "valid"}
    assert set(tried) == set(range(7))
    for row in screen_rows:
        there = tried[row["candidate"]]
        assert there["simulator"] == ("large" if row["kept"] else "small")
        assert (there["correlation"] is not None) == row["kept"]
    names = {r["simulator"] for r in found if r["kind"] == "null"}
    assert names == {"large"}
    write_table(pa.Table.from_pylist(screen_rows, schema=SCREENED), str(tmp_path / "screened.parquet"))


def test_screens_that_sort_out_nothing_or_are_the_simulator_itself_are_refused():
    model = tiny_config()["scores"]["simulator"]["model"]
    screen = {"simulator": {"model": model}, "keep": 1}
    with pytest.raises(ValueError, match=r"scores\.screen\.simulator\.model: .* name a smaller one"):
        load_config(changed(tiny_config(), scores__screen=screen))
    small = changed(tiny_config(), models__small={"source": "random", "base": model})
    screen = {"simulator": {"model": "small"}, "keep": 400}
    with pytest.raises(ValueError, match=r"scores\.screen\.keep is 400, .* leave scores\.screen out"):
        load_config(changed(small, scores__screen=screen))
    with pytest.raises(ValueError, match=r"scores\.screen\.simulator\.model: 'none' is not one of models"):
        load_config(changed(tiny_config(), scores__screen=screen | {"simulator": {"model": "none"}}))
