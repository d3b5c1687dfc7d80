"""docs/explore.ipynb: its cells run on a run made by hand, and answer with that run's numbers."""

import json
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from conftest import ROOT
from hand_made_run import hand_made
from planted_panels import sentences, write_panel

matplotlib.use("Agg")
NOTEBOOK = ROOT / "docs/explore.ipynb"


def cells():
    return [
        "".join(cell["source"]) for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"
    ]


def test_its_five_questions_are_answered_with_plots(tmp_path, monkeypatch):
    import matplotlib.pyplot as plt

    rows = sentences(np.random.default_rng(0), 30)
    tokens = sum(len(ids) - prefix for prefix, ids in rows)
    corpus, _ = write_panel(tmp_path / "text", "train", rows, np.zeros((1, tokens)))
    files = hand_made(tmp_path / "run", corpus, "")
    (tmp_path / "run/atlas").mkdir()  # where a run has them
    (tmp_path / "run/atlas.parquet").rename(tmp_path / "run/atlas/atlas.parquet")
    for file in map(Path, files["statistics"]):
        file.rename(tmp_path / "run/exemplars" / file.parent.name / f"statistics-{file.name}")
    monkeypatch.setenv("RUN", str(tmp_path / "run"))
    plt.close("all")
    found: dict = {}
    for number, source in enumerate(cells(), start=1):
        exec(compile(source, f"cell {number}", "exec"), found)
    assert len(plt.get_fignums()) == 5
    plt.close("all")

    assert len(found["atlas"]) == 12 and len(files["scores"]) == 4  # chunks of a layer are read together
    scores = {neuron: 0.09 + 0.02 * neuron + (0.05 if neuron == 7 else 0) for neuron in (5, 7, 9)}
    medians = found["quartiles"]["score", 0.5]
    assert medians[1] == medians[3] == pytest.approx(np.median([scores[n] for n in (5, 5, 7, 7, 9)]))
    written = found["written"].set_index("explainer")
    assert written.loc["tokens", "share_chosen"] == 0.4 and written.loc["an explainer", "share_chosen"] == 0.6
    assert written["candidates"].tolist() == [10, 10]
    assert found["types"].to_dict("list")["type"] == ["not told"] and found["types"]["rows"].tolist() == [12]
    peaks = found["peaks"].set_index(["layer", "neuron", "sign"])["peak"]
    assert (peaks[3, 5, "positive"], peaks[3, 5, "negative"]) == (13.0, 14.0) and len(peaks) == 10
    assert found["left"]["mean"] == pytest.approx(0) and found["left"]["count"] == 10


def test_a_run_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("RUN", str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match="none has no finished run: run `make demo`"):
        exec(cells()[0], {})


def test_it_is_kept_with_its_answers_and_no_path_of_a_machine():
    notebook = json.loads(NOTEBOOK.read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    pictures = [o for cell in code for o in cell["outputs"] if "image/png" in o["data"]]
    assert len(pictures) == 5
    assert NOTEBOOK.stat().st_size < 300_000
