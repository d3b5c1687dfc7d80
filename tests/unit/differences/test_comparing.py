"""Two readings of one panel compared: figures against numpy's, planted changes found, other panels refused.

I features, N tokens, G groups of documents.
"""

import csv

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from neuron_descriptions.differences.comparing import Read, check_tokenizer, compare_panels
from neuron_descriptions.differences.measuring import compare, deal, judge
from neuron_descriptions.differences.tables import DIFFERENCES
from planted_panels import sentences, write_panel

ROWS = sentences(np.random.default_rng(0), 60)
LENGTHS = np.array([len(ids) - prefix for prefix, ids in ROWS])
GROUP_N = np.repeat(deal(list(range(60))), LENGTHS)


def drawn(features, seed=0):
    return np.random.default_rng(seed).normal(size=(features, int(LENGTHS.sum()))).astype(np.float32)


def test_figures_are_numpy_s_and_those_of_each_feature_alone():
    before_IN = 1000 + drawn(5)  # a mean that a sum of squares would drown in
    after_IN = 2 * before_IN + 3 * drawn(5, seed=1) - 7
    found = compare(before_IN, after_IN, GROUP_N)
    for i in range(5):
        x_N, y_N = before_IN[i].astype(np.float64), after_IN[i].astype(np.float64)
        r = np.corrcoef(x_N, y_N)[0, 1]
        assert found["change"][i] == pytest.approx(1 - r, abs=1e-6)
        assert found["scale"][i] == pytest.approx(y_N.std() / x_N.std(), rel=1e-6)
        assert found["shift"][i] == pytest.approx((y_N.mean() - x_N.mean()) / x_N.std(), rel=1e-5)
        kept_GN = ~(np.arange(20)[:, None] == GROUP_N)
        z_G = np.array([np.arctanh(np.corrcoef(x_N[kept_N], y_N[kept_N])[0, 1]) for kept_N in kept_GN])
        half = 2.093 * np.sqrt(19 / 20 * ((z_G - z_G.mean()) ** 2).sum())  # Student's t of 19 degrees
        assert found["change_low"][i] == pytest.approx(1 - np.tanh(np.arctanh(r) + half), abs=1e-4)
        assert found["change_high"][i] == pytest.approx(1 - np.tanh(np.arctanh(r) - half), abs=1e-4)
        first_N = GROUP_N % 2 == 0
        assert found["change_first"][i] == pytest.approx(1 - np.corrcoef(x_N[first_N], y_N[first_N])[0, 1], abs=1e-6)
        alone = compare(before_IN[i : i + 1], after_IN[i : i + 1], GROUP_N)
        assert {name: values[0] for name, values in alone.items()} == {n: v[i] for n, v in found.items()}


def test_intervals_hold_the_truth_as_often_as_they_say():
    # Documents differ in how strongly a feature fires; the true correlation of each is 0.8.
    features, random = 400, np.random.default_rng(3)
    strength_IN = np.repeat(random.uniform(0.5, 1.5, (features, 60)), LENGTHS, axis=1)
    before_IN = drawn(features, 4)
    after_IN = 0.8 * before_IN + 0.6 * drawn(features, 5)
    found = compare(strength_IN * before_IN, strength_IN * after_IN, GROUP_N)
    held_I = (found["change_low"] < 0.2) & (found["change_high"] > 0.2)
    assert 0.9 < held_I.mean() < 0.99


def test_groups_are_alike_whatever_the_order_and_keep_documents_whole():
    documents = [7, 7, 7, 8, 9, 10, 11, 12, 12] * 5 + list(range(100, 160))
    groups = deal(documents)
    assert deal(documents[::-1]).tolist() == groups.tolist()[::-1]
    assert all(len({g for d, g in zip(documents, groups) if d == document}) == 1 for document in documents)
    assert sorted(set(groups.tolist())) == list(range(20))
    with pytest.raises(ValueError, match="of 1 document; two runs are compared on at least two"):
        deal([4, 4])


def test_what_changed_is_told_apart():
    drift = 0.05  # of all features: a correlation of 0.999
    before_IN = drawn(200)
    after_IN = before_IN + drift * drawn(200, 1)
    after_IN[3] = drawn(1, 2)  # another meaning
    after_IN[4] *= -1  # turned around: its ends say the opposite
    after_IN[5] = 3 * after_IN[5] + 2
    after_IN[6] = 0.7
    before_IN[7] = 0.7
    before_IN[8] = after_IN[8] = 0.0
    found = compare(before_IN, after_IN, GROUP_N)
    judged = judge(found)
    kinds = dict(enumerate(judged["kind"]))
    assert {i: kind for i, kind in kinds.items() if kind != "same"} == {
        3: "meaning", 4: "meaning", 5: "scale", 6: "gone", 7: "new", 8: "silent"
    }  # fmt: skip
    assert found["change"][5] < 0.01 and found["scale"][5] == pytest.approx(3, rel=0.01)
    assert found["change"][4] > 1.99
    assert judged["usual"][0] == pytest.approx(1 - 1 / np.sqrt(1 + drift**2), rel=0.1)
    # Of two readings that are equal nothing changed; of a layer that drifts as a whole, what is usual there did not.
    assert (judge(compare(before_IN[9:], before_IN[9:], GROUP_N))["kind"] == "same").all()
    moved_IN = before_IN[9:] + drawn(191, 6)
    assert np.mean(judge(compare(before_IN[9:], moved_IN, GROUP_N))["kind"] == "same") > 0.99


def readings(folder, before_IN, after_IN, layer=2):
    """The same text read by two subjects."""
    found = []
    for name, acts_IN in (("base", before_IN), ("tuned", after_IN)):
        corpus, acts = write_panel(folder / name, "panel_test", ROWS, acts_IN, layer, subject=name)
        found.append(Read(name, corpus, {layer: acts}))
    return found


def outputs_in(folder):
    names = {"table": "differences.parquet", "neurons": "neurons.csv", "anew": "describe.yaml", "report": "report.md"}
    return {key: str(folder / name) for key, name in names.items()}


def test_changed_features_are_listed_and_described_anew_alone(tmp_path, smollm2):
    before_IN = drawn(50)
    after_IN = before_IN + 0.1 * drawn(50, 1)
    ids_N = np.concatenate([ids[prefix:] for prefix, ids in ROWS])
    after_IN[30] = (ids_N == 11) + 0.1 * after_IN[30]  # token 11 it is now
    after_IN[[31, 32]] = after_IN[[32, 31]]
    after_IN[33] *= 5
    before, after = readings(tmp_path, before_IN, after_IN)
    outputs = outputs_in(tmp_path)
    compare_panels(before, after, smollm2, 2, {"run": "tuned-changed"}, outputs)
    table = pq.read_table(outputs["table"])
    assert table.schema.names == DIFFERENCES.names
    frame = table.to_pandas().set_index("neuron")
    assert set(frame.index[:3]) == {40, 41, 42} and frame["rank"].tolist() == list(range(1, 51))
    assert set(frame.index[frame["kind"] == "meaning"]) == {40, 41, 42} and frame.loc[43, "kind"] == "scale"
    with open(outputs["neurons"]) as file:
        listed = {int(row["neuron"]) for row in csv.DictReader(file)}
    assert listed == set(frame.index[:2]) and set(frame.index[frame["tokens_after"].notna()]) == listed
    from neuron_descriptions.models.loading import load_tokenizer, token_strings

    if 40 in listed:
        assert frame.loc[40, "tokens_after"][0] == token_strings(load_tokenizer(smollm2), [11])[0]
    assert yaml.safe_load((tmp_path / "describe.yaml").read_text()) == {"run": "tuned-changed"}
    report = (tmp_path / "report.md").read_text()
    assert "# base and tuned" in report and "| 2 | 3 | 1 | 46 |" in report

    compare_panels(before, before, smollm2, 2, {}, outputs)
    assert (tmp_path / "neurons.csv").read_text() == "layer,neuron\n"
    assert "| none |" in (tmp_path / "report.md").read_text()


def test_panels_that_are_not_the_same_are_refused_and_both_named(tmp_path, smollm2):
    before, _ = readings(tmp_path / "a", drawn(4), drawn(4))

    def refused(after, what):
        with pytest.raises(ValueError, match=what) as error:
            compare_panels(before, after, smollm2, 2, {}, outputs_in(tmp_path))
        assert not (tmp_path / "differences.parquet").exists()
        return str(error.value)

    other_rows = sentences(np.random.default_rng(9), 60)
    acts = np.zeros((4, sum(len(ids) - prefix for prefix, ids in other_rows)))
    corpus, file = write_panel(tmp_path / "b", "panel_test", other_rows, acts)
    said = refused(Read("tuned", corpus, {2: file}), "are not of the same text")
    assert before.corpus in said and corpus in said
    _, deeper = readings(tmp_path / "c", drawn(4), drawn(4), layer=3)
    assert "base has the layers 2, tuned has 3" in refused(deeper, "name the same")
    _, wider = readings(tmp_path / "d", drawn(5), drawn(5))
    said = refused(wider, r"are of different features \(4 and 5\)")
    assert before.files[2] in said and wider.files[2] in said
    for name, what in (("seed", "the seeds 0 and 1"), ("tokenizer", "different tokenizers")):
        table = pq.read_table(before.corpus)
        changed = str(tmp_path / f"{name}.parquet")
        from neuron_descriptions.common.storage import write_table

        write_table(table.replace_schema_metadata({**table.schema.metadata, name.encode(): b"1"}), changed)
        assert changed in refused(Read("tuned", changed, before.files), what)
    with pytest.raises(ValueError, match=r"another tokenizer than the one that .*panel_test\.parquet was cut with"):
        check_tokenizer(before.corpus, smollm2)
