"""How scores agree with reading, on a table made by hand."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from neuron_descriptions.atlas.further import read_atlas
from neuron_descriptions.atlas.readings import agreement, candidates_of, graded, main, names_in, page, read_grades
from neuron_descriptions.atlas.tables import ATLAS
from neuron_descriptions.common.storage import write_table
from neuron_descriptions.descriptions.tables import DESCRIPTIONS
from neuron_descriptions.scores.tables import CONCEPT_SCORES, SCORES

WORDS = ["wrong", "partly", "fits"]


@pytest.fixture
def files(tmp_path):
    """A reading of 12 descriptions, the last of them reworded since; and an atlas."""
    rows, lines = [], ["layer,neuron,sign,description,reading"]
    for i in range(12):
        said = f"words of kind {i}"
        lines.append(f"3,{i},positive,{said},{WORDS[i % 3]}")
        rows.append({
            "layer": 3, "neuron": i, "sign": "positive", "description": said + " now" * (i == 11),
            "score": (i % 3) / 10 + i / 1000, "score_contrast": -(i % 3) / 10, "gain": None if i < 9 else 0.1,
            "direct_score": 1.0, "explainer": "concepts" if i < 6 else "tokens", "status": "ok",
        })  # fmt: skip
    (tmp_path / "reading.csv").write_text("\n".join(lines) + "\n")
    write_table(pa.Table.from_pylist(rows, schema=ATLAS), tmp_path / "atlas.parquet")
    return str(tmp_path / "reading.csv"), str(tmp_path / "atlas.parquet")


def test_scores_that_order_as_the_reading_does_come_first(files):
    table = read_atlas(files[1])[0]
    rows = graded(read_grades(files[0]), table)
    assert len(rows) == 11  # what was reworded was not read
    found = {name: (rho, area, means) for name, rho, area, means in agreement(rows, names_in(table))}
    assert next(iter(found)) == "score"
    rho, area, means = found["score"]
    assert rho.value > 0.9 and rho.low > 0.8 and (area.value, area.low, area.rows) == (1.0, 1.0, 11)
    assert means == pytest.approx([0.0045, 0.1055, 0.205], abs=1e-3)
    assert found["score_contrast"][0].value == pytest.approx(-1) and found["score_contrast"][1].value == 0.0
    # Of lists of concepts alone, all alike: no order, so no correlation. Too few rows have the gain.
    assert found["direct_score"][0].rows == 6 and np.isnan(found["direct_score"][0].value)
    assert found["gain"][0].rows == 2 and np.isnan(found["gain"][0].value)


def test_the_page_says_how_many_rows_there_are(files, tmp_path):
    text = page(files[0], [files[1]], "read by hand")
    assert "11 of 12 descriptions read: 3 fits, 4 partly, 4 wrong." in text and "*read by hand*" in text
    assert "| `score` | 11 | " in text and "| `gain` | 2 | – | – |" in text


def test_all_candidates_of_a_run_are_read_beside_what_chooses_and_what_executes(files, tmp_path):
    who = {"layer": 3, "sign": "positive"}
    said = [
        {**who, "neuron": i, "candidate": c, "description": f"words of kind {i}" + " twice" * c, "status": "ok",
         "explainer": "concepts"}
        for i in range(11) for c in (0, 1)
    ]  # fmt: skip
    scores = [
        {**who, "neuron": i, "candidate": 0, "kind": "candidate", "split": split, "correlation": turn * (i % 3) / 10}
        for i in range(11) for split, turn in (("valid", 1), ("test", -1))
    ]  # fmt: skip
    direct = [{**who, "neuron": i, "candidate": 0, "sentence": f"words of kind {i}", "direct_score": -(i % 3) / 10,
               "direct_score_contrast": 0.5} for i in range(11)]  # fmt: skip
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(ValueError, match="is no folder of a finished run"):
        page(files[0], [str(run)])
    for name, rows, schema in (
        ("descriptions", said, DESCRIPTIONS), ("scores", scores, SCORES), ("concepts", direct, CONCEPT_SCORES)
    ):  # fmt: skip
        write_table(pa.Table.from_pylist(rows, schema=schema), run / f"{name}/layer-3/chunk-0.parquet")
    table = candidates_of(run)
    assert len(table) == 22 and table["selection_score"].null_count == 11
    rows = graded(read_grades(files[0]), table)
    found = {name: rho for name, rho, *_ in agreement(rows, names_in(table))}
    assert [found[name].value for name in ("selection_score", "direct_score")] == pytest.approx([1, -1])
    assert "11 of 12 descriptions read" in page(files[0], [str(run)])


@pytest.mark.parametrize(
    ("change", "said"),
    [(("fits", "good"), "reading is 'good'; it is one of wrong, partly, fits"), (("words of", "of"), "none of its")],
)
def test_a_bad_reading_is_named(files, tmp_path, change, said):
    text = Path(files[0]).read_text().replace(*change)
    other = tmp_path / "other.csv"
    other.write_text(text)
    with pytest.raises(SystemExit, match=said):
        main([str(other), files[1], "--output", str(tmp_path / "page.md")])
    assert not (tmp_path / "page.md").exists()
