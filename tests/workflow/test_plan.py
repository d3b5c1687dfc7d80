"""What can be known before anything runs: the published run's plan, and bad input."""

import json
import re
import subprocess
import sys

import pytest
import yaml

from conftest import ROOT, Project, changed, snakemake, tiny_config, with_results_of
from neuron_descriptions.config.sections import load_config
from neuron_descriptions.run.costs import make_plan
from neuron_descriptions.run.selection import described_and_kept

HEAVY = ["torch", "transformers", "datasets", "sklearn", "matplotlib", "openai", "anthropic", "vllm"]


def test_the_published_run_is_planned_without_weights_network_or_heavy_imports(tmp_path):
    project = Project(tmp_path / "plan")
    (project.folder / "resources").unlink()
    code = f"""
import json, sys
from snakemake.cli import main
try:
    main(["-n", "--configfile", "config/llama-3.1-8b-instruct.yaml"])
except SystemExit as done:
    print("MODULES", done.code, json.dumps([m for m in {HEAVY} if m in sys.modules]))
"""
    environment = {"PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1", "http_proxy": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project.folder, capture_output=True, text=True, env=environment
    )
    _, code, modules = re.search(r"(MODULES) (\w+) (.*)", done.stdout).groups()
    assert code == "0", done.stderr[-3000:]
    assert json.loads(modules) == []
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout, re.MULTILINE))
    per_chunk = 32 * 14336 // 448
    assert {rule: int(n) for rule, n in jobs.items()} == {
        "fetch_model": 3, "fetch_documents": 3, "build_corpus": 1, "harvest": 3 * 4, "merge_exemplars": per_chunk,
        "describe": per_chunk, "pool_nulls": 1, "score": per_chunk, "write_details": per_chunk, "build_atlas": 1,
        "write_atlas_page": 1, "plot_scores": 1, "write_provenance": 1, "account": 1, "probe": 1, "all": 1,
        "total": 4 * per_chunk + 27,
    }  # fmt: skip


def test_the_published_settings_are_the_published_ones():
    config = yaml.safe_load((ROOT / "config/llama-3.1-8b-instruct.yaml").read_text())
    assert config["subject"] | {"layers": 32, "neurons_per_layer": 14336} == config["subject"]
    assert config["corpus"]["seq_len"] == 95
    assert set(config["corpus"]["sequences"].values()) == {1_000_000}
    assert (config["exemplars"]["k"], config["descriptions"]["candidates"]) == (100, 50)
    assert config["scores"]["simulator"]["kind"] == "finetuned"
    assert (config["scores"]["top"], config["scores"]["random"]) == (20, 5)


@pytest.mark.parametrize(
    "name", [p.name for p in (ROOT / "config").glob("*.yaml") if p.name != "null-descriptions.yaml"]
)
def test_every_shipped_configuration_plans(name, tmp_path):
    assert snakemake(Project(tmp_path / "plan").folder, "-n", "--configfile", f"config/{name}").returncode == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sede": 1}, "sede: unknown key"),
        ({"scores__topp": 1}, "scores.topp: unknown key"),
        ({"exemplars__k": "many"}, "exemplars.k: 'many' is text, not a whole number"),
        ({"neurons__layers": [1, 30]}, "layer 30 is out of range; the subject has layers 0..29"),
        ({"plan__ceilings": {"gpu_hours": 0.0001}}, "gpu hours planned, plan.ceilings.gpu_hours is 0.0001"),
        ({"plan__ceilings": {"gigabytes": 0.0001}}, "gigabytes planned, plan.ceilings.gigabytes is 0.0001"),
        ({"panel__tokens": 0}, "panel.tokens: 0"),
        ({"exemplars__k": 41}, "exemplars.k is 41, more than the smallest split's sequences (40); lower it"),
        ({"scores__middle": 11}, "scores.middle is 11, more than exemplars.middle (10); lower it"),
        ({"scores__descriptions": "missing.csv"}, "scores.descriptions: missing.csv does not exist"),
        ({"corpus__sources__sotu__ratio": 0.6}, "ratios sum to 1.1; make them sum to 1"),
        ({"neurons__file": "missing.csv"}, "neurons.file: missing.csv does not exist"),
        ({"descriptions__prompt": "missing.yaml"}, "descriptions.prompt: missing.yaml does not exist"),
        (
            {"models__smollm2-135m-instruct": {"source": "path", "path": "nowhere"}},
            "models.smollm2-135m-instruct.path: nowhere holds no model",
        ),
    ],
)
def test_bad_configuration_stops_before_any_job(tmp_path, changes, message):
    done = Project(tmp_path / "bad").run(changed(tiny_config(), **changes), check=False)
    assert done.returncode != 0
    assert message in done.stderr
    assert not (tmp_path / "bad/results").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed: 0\n", "seed: 0\nrun: again\n", "mine.yaml, line {line}: the key 'run' stands twice; keep one"),
        ("seed: 0\n", "seed: 010\n", "mine.yaml, line {line}: YAML reads 010 as another number"),
    ],
)
def test_a_configuration_that_reads_as_something_else_stops_before_any_job(tmp_path, old, new, message):
    project = Project(tmp_path / "bad")
    text = yaml.safe_dump(tiny_config() | {"seed": 0}, sort_keys=True)
    assert text.count(old) == 1 and text.index("run: ") < text.index(old)
    text = text.replace(old, new)
    (project.folder / "mine.yaml").write_text(text)
    done = snakemake(project.folder, "-n", "--configfile", "mine.yaml", check=False)
    assert done.returncode != 0
    line = next(i for i, s in enumerate(text.splitlines(), 1) if s in ("run: again", "seed: 010"))
    assert message.format(line=line) in done.stdout + done.stderr


@pytest.mark.parametrize("source", ["harvest", "more", "panel", "concepts", "output side", "import"])
def test_the_plan_counts_the_jobs_that_the_run_has(tmp_path, source):
    config = changed(tiny_config(), evidence="base", neurons__chunk_size=1, publish={"bucket": "b"})
    if source == "more":
        config = changed(config, exemplars__neurons={"layers": [0, 1, 3], "indices": [5, 9, 699], "chunk_size": 2})
    if source == "panel":
        config = changed(config, panel={"tokens": 500, "seq_len": 64})
    if source == "concepts":
        config = changed(config, descriptions__concept_candidates=2, panel={"tokens": 500})
    if source == "output side":
        config = changed(config, output_side={"tokens": 5})
    if source == "import":
        exemplars = {"source": "s3", "bucket": "b", "folder": "f", "k": 12, "random": 4, "seq_len": 40}
        config = changed(config, exemplars=exemplars, scores__middle=0)
        del config["corpus"]
    project = Project(tmp_path / "plan")
    (project.folder / "resources").unlink()
    checked = load_config(config)
    reckoned = {s.rule: s.jobs for s in make_plan(checked, *described_and_kept(checked)).stages}
    assert project.planned(config) == reckoned
    assert project.planned(config, "publish") == reckoned | {"publish": 1}


def test_two_models_are_compared_without_describing_and_only_when_asked(tmp_path):
    drawn = {"source": "random", "base": "smollm2-135m-instruct", "seed": 1}
    config = changed(tiny_config(), panel={"tokens": 500}, models__drawn=drawn, diff={"model": "drawn"})
    project = Project(tmp_path / "plan")
    checked = load_config(config)
    reckoned = {s.rule: s.jobs for s in make_plan(checked, *described_and_kept(checked)).stages}
    jobs = project.planned(config, "diff")
    assert jobs.items() <= (reckoned | {"harvest_panel": 1}).items()  # of one panel, of two
    assert jobs["harvest_other"] == jobs["diff"] == 1 and "describe" not in jobs
    for section, said in (
        (None, "the configuration has no section `diff`"),
        ({"run": "other"}, "the run other has no results/other/corpus/panel_test.parquet, whose like the run tiny has"),
    ):
        done = project.run(changed(config, diff=section), "--dry-run", "diff", check=False)
        assert done.returncode != 0 and said in done.stdout + done.stderr


def test_the_plan_is_printed_whatever_the_ceilings_and_nothing_else_starts(tmp_path):
    project = Project(tmp_path / "plan")
    config = changed(tiny_config(), plan__ceilings={"gpu_hours": 0.0001}, plan__gpus=3)
    told = project.run(config, "plan", "--quiet", "all").stderr
    for words in ("harvest", "GPU hours", "tokens read", "h on 3", "plan.teraflops", "ABOVE A CEILING"):
        assert words in told
    files = [p.relative_to(project.folder) for p in (project.folder / "results").rglob("*") if p.is_file()]
    assert {p.name for p in files} == {"plan.txt", "plan.log", "plan.tsv"}
    assert project.file("plan.txt").read_text().strip() in told


# Which files of a run are a stage's.
FILES = {
    "build_corpus": ["corpus/*.parquet"],
    "merge_exemplars": ["exemplars/**/*.parquet"],
    "describe": ["descriptions/layer-*/*.parquet"],
    "score": ["scores/layer-*/*.parquet", "predictions/**/*.bin"],
    "write_details": ["atlas/details/**/*.js"],
    "build_atlas": ["atlas/atlas.parquet"],
    "account": ["atlas/accounting.parquet"],
    "write_atlas_page": ["atlas/*.html", "atlas/rows/*.js"],
    "plot_scores": ["atlas/scores.svg"],
}


def test_the_plan_s_bytes_are_within_one_and_a_half_of_what_a_run_leaves(finished):
    config = load_config(changed(tiny_config(), plan__prefix=24))  # SmolLM2's
    planned = {s.rule: s.kept for s in make_plan(config, *described_and_kept(config)).stages}
    left = {
        rule: sum(p.stat().st_size for pattern in patterns for p in finished.file(".").glob(pattern))
        for rule, patterns in FILES.items()
    }
    told = {rule: (round(planned[rule]), size) for rule, size in left.items()}
    assert all(size / 1.5 < planned[rule] < 1.5 * size for rule, size in left.items()), told


def test_a_ceiling_counts_only_what_is_left_to_do(finished, tmp_path):
    config = changed(tiny_config(), plan__ceilings={"gpu_hours": 0.02})
    project = with_results_of(finished, tmp_path / "left")
    project.file("scores/layer-1/chunk-0.parquet").unlink()
    assert "planned, plan.ceilings" not in project.run(config, "results/tiny/scores/layer-1/chunk-0.parquet").stderr
    again = project.run(config, "--forceall", check=False)
    assert again.returncode != 0 and "planned, plan.ceilings.gpu_hours is 0.02" in again.stderr


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1,5\n1,1536\n", "layer 1, neuron 1536 is out of range"),
        ("1,5\n3,7\n1,5\n", "layer 1, neuron 5 is named twice"),
    ],
)
def test_a_bad_neurons_file_stops_before_any_job(tmp_path, rows, message):
    project = Project(tmp_path / "bad")
    (project.folder / "neurons.csv").write_text("layer,neuron\n" + rows)
    done = project.run(changed(tiny_config(), neurons={"file": "neurons.csv"}), check=False)
    assert done.returncode != 0
    assert message in done.stderr
    assert "neurons.csv" in done.stderr


# Runs a command in which no file can grow beyond 20 kB: what a full disk does, file by file.
FULL_DISK = """
import resource, signal, subprocess, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (15_000, 15_000))
sys.exit(subprocess.call(sys.argv[1:]))
"""


def test_a_failing_job_says_why_and_where_and_a_later_run_recovers(tmp_path):
    """A corpus that one source cannot fill; then a full disk; then a corrupt table: each named, each recovered from."""
    project = Project(tmp_path / "failing")
    config = changed(tiny_config(), corpus__sequences={"train": 72, "valid": 40, "test": 4_000_000})
    done = project.run(config, check=False)
    assert done.returncode != 0
    assert "corpus.sources." in done.stderr and "is exhausted" in done.stderr and "build_corpus.log" in done.stderr
    assert not list(project.file("corpus").glob("*"))

    target = "results/tiny/corpus/test.parquet"
    large = changed(tiny_config(), corpus__sequences={"train": 700, "valid": 40, "test": 40})
    (project.folder / "run.yaml").write_text(yaml.safe_dump(large))
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, sys.executable, "-m", "snakemake", target, "--configfile", "run.yaml"],
        cwd=project.folder, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode != 0
    assert "writing results/tiny/corpus/train.parquet" in done.stderr
    assert "File too large" in done.stderr
    assert not list(project.file("corpus").glob("*"))
    project.run(tiny_config(), target)

    corpus = project.file("corpus/train.parquet")
    whole = corpus.read_bytes()
    corpus.write_bytes(whole[: len(whole) // 2])
    done = project.run(tiny_config(), "results/tiny/exemplars/layer-1/chunk-0.parquet", check=False)
    assert done.returncode != 0
    assert "corpus/train.parquet is not a" in done.stderr and "delete it and run again" in done.stderr
    corpus.unlink()
    project.run(tiny_config(), "results/tiny/exemplars/layer-1/chunk-0.parquet")
