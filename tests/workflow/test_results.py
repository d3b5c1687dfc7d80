"""A real, small run: what it gives, and what must not change it."""

import json
import os
import signal
import time

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import forked
from conftest import KINDS, Project, changed, tables, tiny_config, with_results_of
from neuron_descriptions.atlas.packing import read_neurons
from neuron_descriptions.panel.reading import Panel
from neuron_descriptions.scores.natural import shared_order

GIVEN = """layer,neuron,sign,description
1,5,+,"words, of any kind"
3,699,negative,{text}
1,5,positive,names of months
0,7,-,the end of a sentence
"""


def test_the_run_gives_an_atlas_of_every_selected_neuron_and_sign(finished):
    atlas = pq.read_table(finished.file("atlas/atlas.parquet")).to_pandas()
    expected = [(layer, n, s) for layer in (1, 3) for n in (5, 699) for s in ("positive", "negative")]
    assert list(atlas[["layer", "neuron", "sign"]].itertuples(index=False, name=None)) == expected
    ok = atlas[atlas.status == "ok"]
    assert len(ok) >= 4
    assert ok.description.str.len().min() > 0
    assert ((ok.score_contrast_low <= ok.score_contrast) & (ok.score_contrast <= ok.score_contrast_high)).all()
    wanted = ["null_score", "token_baseline_contrast", "published_score", "selection_score"]
    assert ok[wanted].notna().all(axis=None)


def test_chosen_on_valid_reported_on_test(finished):
    atlas = tables(finished, "atlas/atlas.parquet").set_index(["layer", "neuron", "sign"])
    scores = tables(finished, "scores/layer-*/chunk-*.parquet")
    for key, rows in scores[scores.kind == "candidate"].groupby(["layer", "neuron", "sign"]):
        valid = rows[rows.split == "valid"].set_index("candidate").correlation
        if atlas.loc[key].status != "ok":
            continue
        best = valid.fillna(-2).idxmax()
        test = rows[rows.split == "test"].set_index("candidate").correlation
        published = rows[rows.split == "valid"].set_index("candidate").published_score.fillna(-2).idxmax()
        assert set(test.index) == {best, published}
        assert atlas.loc[key].score_contrast == test[best]
        assert atlas.loc[key].selection_score == valid[best]


def test_the_scored_sequences_are_the_exemplars_of_that_split(finished):
    exemplars = tables(finished, KINDS[0]).set_index(["split", "layer", "neuron", "sign", "kind", "rank"])
    simulations = tables(finished, KINDS[4])
    assert set(simulations.split) == {"valid", "test"}
    for row in simulations.itertuples():
        stored = exemplars.loc[(row.split, row.layer, row.neuron, row.sign, row.kind, row.rank)]
        assert stored.seq_id == row.seq_id
        assert list(stored.activations) == list(row.activations)
        assert len(row.simulated) == len(row.activations)


def test_running_again_has_nothing_to_do_and_temporary_files_are_gone(finished):
    assert "Nothing to be done" in finished.run(tiny_config()).stderr
    assert not list(finished.file(".").rglob("*.safetensors"))
    hidden = {path.name for path in finished.file(".").rglob(".*") if path.is_file()}
    assert hidden <= {".snakemake_timestamp"}  # of outputs that are folders


def test_shards_chunks_and_layers_per_job_never_change_a_result(finished, tmp_path):
    config = changed(tiny_config(), neurons__chunk_size=1, exemplars__shard_sequences=60, exemplars__layers_per_job=1)
    other = Project(tmp_path / "other")
    other.run(config, "--set-threads", "harvest=1", "describe=1", "score=1")
    for kind in KINDS:
        assert tables(other, kind).equals(tables(finished, kind)), kind
    for file in ("atlas/atlas.parquet", "atlas/scores.svg"):
        assert other.file(file).read_bytes() == finished.file(file).read_bytes()


def test_scores_on_text_as_it_comes_are_those_of_the_panel(finished, tmp_path):
    """Switched on for a finished run: the shared predictions, correlated by hand with the panel's activations."""
    project = with_results_of(finished, tmp_path / "natural")
    natural = {"certain": 2, "likely": 1, "sequences": 4}
    config = changed(tiny_config(), panel={"tokens": 300, "seq_len": 40}, scores__natural=natural)
    project.run(config)
    atlas = tables(project, "atlas/atlas.parquet")
    compared = tables(project, "natural/layer-*.parquet")
    both = atlas.merge(compared, on=["layer", "neuron", "sign"], suffixes=("", "_there"))
    assert len(both) == len(compared) >= 4
    assert both.score.equals(both.score_there) and both.score.notna().any()
    assert (compared.n_panel_nulls > 0).all() and (compared.n_sequences <= 7).all()
    panel = {
        layer: Panel(
            str(project.file("corpus/panel_test.parquet")),
            [str(project.file(f"panel/panel_test/layer-{layer}.safetensors"))],
        )
        for layer in (1, 3)
    }
    shared = tables(project, "natural/layer-*/shared-chunk-*.parquet").set_index(["layer", "neuron", "sign"])
    for row in compared[compared.panel_score.notna()].itertuples():
        read, side = panel[row.layer], 1 if row.sign == "positive" else -1
        acts = np.split(read.acts(row.layer, [row.neuron])[0] * side, np.cumsum(read.lengths)[:-1])
        true = np.maximum(np.concatenate([acts[i] for i in shared_order(len(acts), 0)[:4]]), 0)
        simulated = shared.loc[(row.layer, row.neuron, row.sign)].simulated
        assert np.corrcoef(simulated, true)[0, 1] == pytest.approx(row.panel_score, abs=1e-6)
    # What neurons write, judged on that panel and scaled there.
    config = changed(config, output_side={"tokens": 8, "scaled": 1, "explained": True, "others": 1})
    project.run(config)
    judged, scaled = (tables(project, f"output_side/{name}.parquet") for name in ("scores", "scaled"))
    written = atlas[["layer", "neuron", "sign"]]
    assert judged[["layer", "neuron", "sign"]].equals(written) and judged.description.notna().all()
    assert sorted(scaled.layer.unique()) == [1, 3] and len(scaled.groupby(["layer", "neuron"])) == 2
    # The explainer's words for it, judged, reach the atlas; what they took is told.
    asked = tables(project, "output_side/explained/layer-*/chunk-*.parquet").merge(written)
    told = pd.read_parquet(project.file("output_side/accounting.parquet")).set_index("layer")
    assert len(asked) == len(written) and set(asked.status) <= {"ok", "refused", "unparsed"}
    assert told.iloc[-1].described == (asked.status == "ok").sum() and asked.prompt_tokens.gt(0).all()
    assert told.iloc[-1].prompt_tokens == asked.prompt_tokens.sum()
    final = pd.read_parquet(project.file("atlas/atlas.parquet"))
    both = final.merge(asked, on=["layer", "neuron", "sign"], suffixes=("", "_asked"))
    assert len(both) == len(final) and both.output_tokens_words.equals(both.description_asked)
    judged = final[final.output_tokens_status == "ok"]
    assert judged.output_tokens_auc.between(0, 1).all() and (judged.output_tokens_n_held_out == 4).all()
    assert project.planned(config) == {}


def test_one_neuron_on_demand_equals_the_full_run_and_reuses_it(finished, tmp_path):
    target = "results/tiny/neurons/layer-3/neuron-699.html"
    alone = Project(tmp_path / "alone")
    planned = alone.planned(tiny_config(), target)
    assert planned["harvest"] == 3 and planned["describe"] == planned["score"] == 1
    alone.run(tiny_config(), target)

    def differing(kind, rows=lambda table: table):
        single = rows(tables(alone, kind.replace("chunk-*", "neuron-*")))
        full = tables(finished, kind)
        full = rows(full[(full.layer == 3) & (full.neuron == 699)])
        assert len(single) > 0
        return not single.reset_index(drop=True).equals(full.reset_index(drop=True))

    assert [kind for kind in KINDS if differing(kind)] == [KINDS[3]]
    assert not differing(KINDS[3], lambda table: table[table.kind != "null"])
    # Alone, before any run, its nulls are of the file: other neurons of the run have no descriptions yet.
    single = tables(alone, KINDS[3].replace("chunk-*", "neuron-*"))
    assert set(single[single.null_kind == "other"].origin) <= {"file"}
    assert not (single.null_kind == "tokens").any()
    assert set(finished.planned(tiny_config(), target)) == {"write_neuron_page"}
    finished.run(tiny_config(), target)
    pages = [project.file("neurons/layer-3/neuron-699.html").read_text() for project in (finished, alone)]
    assert all("ATLAS" in page for page in pages)


def test_a_first_page_needs_no_score_and_changes_nothing_else(finished):
    config = changed(tiny_config(), atlas__first_page=True)
    assert set(finished.planned(config)) - {"all"} == {"write_first_page", "write_provenance"}
    before = finished.planned(config, "results/tiny/first.html", "--forcerun", "describe")
    assert not {"score", "pool_nulls", "probe"} & set(before)
    finished.run(config, "results/tiny/first.html")
    assert "Scores are being made" in finished.file("first.html").read_text()


def test_a_neuron_outside_the_selection_has_its_page_too(finished):
    planned = finished.planned(tiny_config(), "results/tiny/neurons/layer-0/neuron-1535.html")
    assert planned["harvest"] == 3 and "build_corpus" not in planned
    done = finished.run(tiny_config(), "--dry-run", "results/tiny/neurons/layer-30/neuron-1.html", check=False)
    assert done.returncode != 0
    assert "layer 30, neuron 1 is out of range; the subject has layers 0..29" in done.stdout + done.stderr


def test_a_killed_run_resumes_and_equals_an_uninterrupted_one(finished, tmp_path):
    project = Project(tmp_path / "killed")
    config = changed(tiny_config(), exemplars__shard_sequences=36)
    (project.folder / "run.yaml").write_text(json.dumps(config))
    for watched in ("activations", "descriptions"):
        main = forked.started(
            project.folder, "--configfile", "run.yaml", "--cores", "1", env=os.environ, output=tmp_path / "out"
        )
        deadline = time.time() + 1200
        while not [p for p in project.file(watched).rglob("*") if p.is_file()]:
            assert main.is_alive() and time.time() < deadline
            time.sleep(0.1)
        time.sleep(1.0)  # into the next job
        os.killpg(main.pid, signal.SIGKILL)
        main.join()
        for path in project.file(".").rglob("*.parquet"):
            if not any(part.startswith(".") for part in path.parts):
                pq.read_table(path)  # nothing half-written under a final name
        project.run(config, "--unlock")
    planned = project.planned(config)
    assert not {"build_corpus", "harvest"} & set(planned)
    project.run(config)
    for kind in KINDS:
        assert tables(project, kind).equals(tables(finished, kind)), kind
    assert project.file("atlas/atlas.parquet").read_bytes() == finished.file("atlas/atlas.parquet").read_bytes()


def test_nulls_are_of_other_neurons_of_the_run_or_empty(finished):
    descriptions = tables(finished, KINDS[2])
    scores = tables(finished, KINDS[3])
    nulls = scores[scores.kind == "null"]
    assert set(nulls.groupby(["layer", "neuron", "sign", "split"]).size()) == {2}
    assert not (nulls.origin == "file").any()
    assert set(nulls.null_kind) == {"other", "tokens", "empty"}
    assert set(nulls[nulls.null_kind == "empty"].description) == {""}
    pool = pq.read_table(finished.file("descriptions/null-pool.parquet")).to_pandas()
    for row in nulls[nulls.null_kind != "empty"].itertuples():
        layer, neuron, sign = row.origin.split("/")
        assert (int(layer), int(neuron)) != (row.layer, row.neuron)
        of = descriptions if row.null_kind == "other" else pool[pool.kind == "tokens"]
        of = of[(of.layer == int(layer)) & (of.neuron == int(neuron)) & (of.sign == sign)]
        assert row.description in set(of.description)


def test_scored_sequences_are_top_middle_and_random(finished):
    scores = tables(finished, KINDS[3])
    assert (scores[["n_top", "n_middle", "n_random"]] == [3, 1, 1]).all(axis=None)
    simulations = tables(finished, KINDS[4])
    assert set(simulations.kind) == {"top", "middle", "random"}


def test_descriptions_from_elsewhere_are_scored_with_one_target(finished, tmp_path):
    """Among them one of the run's own, which scores as it did there; a neuron outside the selection; two of a kind."""
    project = with_results_of(finished, tmp_path / "given")
    atlas = tables(project, "atlas/atlas.parquet").set_index(["layer", "neuron", "sign"])
    own = atlas.loc[3, 699, "negative"]
    assert own.status == "ok"
    (project.folder / "given.csv").write_text(GIVEN.format(text=json.dumps(own.description).replace('\\"', '""')))
    config, target = changed(tiny_config(), scores__descriptions="given.csv"), "results/tiny/given/scores.csv"
    planned = project.planned(config, target)
    assert {k: n for k, n in planned.items() if k not in ("harvest", "merge_exemplars")} == {
        "read_descriptions": 3, "score_given": 3, "write_given_scores": 1,
    }  # fmt: skip
    project.run(config, target)
    found = pd.read_csv(project.file("given/scores.csv")).set_index(["layer", "neuron", "sign"])
    assert list(found.index) == [(0, 7, "negative"), (1, 5, "positive"), (1, 5, "positive"), (3, 699, "negative")]
    assert list(found.loc[(1, 5, "positive")].description) == ["words, of any kind", "names of months"]
    assert found.loc[(3, 699, "negative")].score_contrast.item() == pytest.approx(own.score_contrast, abs=0.02)
    assert found.token_baseline_contrast.notna().all()
    assert set(project.planned(config)) <= {"write_provenance"}

    page = "results/tiny/given/index.html"
    assert project.planned(config, page) == {
        "build_given_atlas": 1, "write_given_details": 3, "write_given_page": 1,
    }  # fmt: skip
    project.run(config, page)
    rows = pq.read_table(project.file("given/atlas.parquet")).to_pylist()
    assert [(r["layer"], r["neuron"], r["sign"]) for r in rows] == sorted(set(found.index))
    best = found.loc[(1, 5, "positive")]
    assert next(r for r in rows if r["layer"] == 1)["description"] in set(best.description)
    details = [str(read_neurons(project.file(f"given/details/layer-{layer}/chunk-0/0.js"))) for layer in (0, 1, 3)]
    assert all(
        "names of months" in text or "end of a sentence" in text or own.description[:5] in text for text in details
    )
    assert "given.csv" in project.file("given/index.html").read_text()


@pytest.mark.parametrize("target", ["atlas/index.html", "atlas/scores.svg"])
def test_the_pages_stand_alone(finished, target):
    text = finished.file(target).read_text()
    assert "http://" not in text.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    assert "https://" not in text.replace("https://matplotlib.org", "")


def test_a_report_can_be_made(finished, tmp_path):
    finished.run(tiny_config(), "--report", str(tmp_path / "report.html"))
    text = (tmp_path / "report.html").read_text()
    assert all(f"results/tiny/atlas/{name}" in text for name in ("scores.svg", "report.html", "provenance.json"))
