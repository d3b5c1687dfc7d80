"""A changed setting reruns what depends on it, and nothing else does."""

import json
import os
import re
import shutil

import pyarrow.parquet as pq
import pytest

from conftest import Project, changed, demo_config, record, tiny_config, with_results_of
from reruns import BY_KEY, CONCEPTS, DESCRIPTIONS, EXEMPLARS, SCORES, SIMULATED


@pytest.fixture(scope="module")
def project(finished, tmp_path_factory):
    return with_results_of(finished, tmp_path_factory.mktemp("stale") / "clone")


def edit(project: Project, file: str, old: str, new: str, untimed: bool = False):
    """Edit a file of the project; returns what undoes it. untimed: the file keeps its time, as one has that is put in
    its place by `mv` or `cp -p`."""
    path = project.folder / file
    text = path.read_text()
    assert re.search(old, text), f"{old} is not in {file}"
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_text(re.sub(old, new, text, count=1))
    if untimed:
        os.utime(path, ns=times)
    return lambda: path.write_text(text)


def test_a_fresh_clone_reruns_nothing(project):
    assert project.planned(tiny_config()) == {}


def test_a_panel_switched_on_reruns_nothing_else(project):
    config = changed(tiny_config(), panel={"tokens": 500})
    panel = {"build_panel": 1, "harvest_panel": 2, "type_neurons": 2}
    scores = {"score_natural": 2, "simulate_nulls": 1, "compare_natural": 2}
    told = {"build_atlas": 1, "write_details": 2, "write_atlas_page": 1, "plot_scores": 1}  # of types and scores
    # The provenance names all of the configuration.
    assert project.planned(config) == panel | scores | told | {"write_provenance": 1}


def test_touched_files_rerun_nothing(project):
    for folder in ("scripts", "config", "rules", "envs"):
        for path in (project.folder / folder).rglob("*"):
            path.touch()
    (project.folder / "Snakefile").touch()
    assert project.planned(tiny_config()) == {}


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("scripts/neuron_descriptions/scores/formulas.py", r"^", "# A comment.\n"),
        ("scripts/neuron_descriptions/harvest/top.py", r"Per side, the K sequences", "For each side, the K"),
        ("scripts/neuron_descriptions/common/logs.py", r"%s left", "%s to go"),
        ("scripts/neuron_descriptions/clients/vllm.py", r"seed=0", "seed=1"),
        ("scripts/neuron_descriptions/clients/endpoint.py", r"0\.5 \* 2", "0.4 * 2"),
        ("scripts/score.py", r"^", "\n\n# Another comment.\n"),
        ("rules/simulated.smk", r'mem_mb=memory\("score"\)', "mem_mb=24_000"),
        ("rules/descriptions.smk", r"threads: 4 if EXPLAINER", "threads: 8 if EXPLAINER"),
    ],
)
def test_words_and_resources_rerun_nothing(project, file, old, new):
    undo = edit(project, file, old, new)
    assert project.planned(tiny_config()) == {}
    undo()


@pytest.mark.parametrize(
    ("file", "old", "new", "rerun"),
    [
        (
            "scripts/neuron_descriptions/scores/formulas.py",
            r"np\.corrcoef\(p, t\)\[0, 1\]",
            "np.corrcoef(t, p)[0, 1]",
            SIMULATED,
        ),
        ("scripts/neuron_descriptions/descriptions/evidence.py", r"most \+ 1", "most + 2", DESCRIPTIONS),
        (
            "scripts/neuron_descriptions/harvest/merging.py",
            r"np\.maximum\(square",
            "np.fmax(square",
            EXEMPLARS - {"harvest"},
        ),
        ("scripts/neuron_descriptions/harvest/tail.py", r"% 64 == 0", "% 16 == 0", EXEMPLARS),
        ("scripts/neuron_descriptions/clients/transformers.py", r"\(1e-300\)", "(1e-299)", DESCRIPTIONS),
        (
            "scripts/neuron_descriptions/descriptions/accounting.py",
            r"if seconds else None",
            "or None",
            {"account", "plot_scores", "write_atlas_page"},
        ),
        ("config/prompts/words.yaml", r"one short phrase", "a phrase", DESCRIPTIONS),
        ("config/prompts/simulator.yaml", r"October", "November", SIMULATED),
        ("config/null-descriptions.yaml", r"weekdays", "days of the week", SCORES),
        ("scripts/neuron_descriptions/atlas/pages/atlas.css", r"^", "/* */", {"write_atlas_page"}),
    ],
)
def test_an_edit_reruns_what_depends_on_it(project, file, old, new, rerun):
    undo = edit(project, file, old, new)
    planned = set(project.planned(tiny_config()))
    undo()
    # Merging anew needs the harvest's temporary files anew.
    assert planned | {"harvest"} == rerun | {"harvest"}
    assert ("harvest" in planned) == ("merge_exemplars" in planned)


@pytest.mark.parametrize(
    ("changes", "rerun"), BY_KEY, ids=lambda given: " ".join(given) if isinstance(given, dict) else ""
)
def test_a_setting_reruns_what_depends_on_it(project, changes, rerun):
    assert set(project.planned(changed(tiny_config(), **changes))) == rerun


def test_more_chunks_or_shards_of_the_same_run_only_rerun_what_they_cut(project):
    assert set(project.planned(changed(tiny_config(), exemplars__shard_sequences=36))) <= EXEMPLARS
    assert "build_corpus" not in project.planned(changed(tiny_config(), neurons__chunk_size=1))


def test_runs_share_a_corpus_and_exemplars(project):
    """Another explainer or simulator under another name: nothing that decides on exemplars is made again."""
    other = changed(tiny_config(), run="other", evidence="tiny", descriptions__temperature=0.9, scores__nulls=2)
    assert set(project.planned(other)) == {"probe", *DESCRIPTIONS}
    assert project.planned(tiny_config()) == {}
    unlike = project.run(changed(other, exemplars__k=13), check=False)
    assert unlike.returncode != 0
    assert (
        "evidence: results/tiny/exemplars/layer-" in unlike.stderr and "bring the run tiny up to date" in unlike.stderr
    )
    assert not (project.folder / "results/other").exists()


def test_more_neurons_are_described_from_exemplars_that_are_kept(project, finished):
    """Runs that describe other ones of the neurons whose exemplars are kept, cut in other chunks."""
    kept = {"layers": [1, 3], "indices": [5, 699], "chunk_size": 2}
    shared = changed(tiny_config(), evidence="tiny", exemplars__neurons=kept)
    first = changed(shared, run="first", neurons={"layers": [3], "indices": [699], "chunk_size": 1})
    more = changed(shared, run="more", neurons={"layers": [1, 3], "indices": [5, 699], "chunk_size": 1})
    for config, jobs in ((first, 1), (more, 4)):
        planned = project.planned(config)
        assert set(planned) == {"probe", *DESCRIPTIONS} and planned["describe"] == planned["score"] == jobs
    project.run(first, "results/first/descriptions/layer-3/chunk-0.parquet", "--cores", "2")
    ours = pq.read_table(project.folder / "results/first/descriptions/layer-3/chunk-0.parquet")
    theirs = pq.read_table(finished.file("descriptions/layer-3/chunk-0.parquet"), filters=[("neuron", "=", 699)])
    assert ours.num_rows == 4 and ours.equals(theirs)
    outside = changed(first, neurons={"layers": [3], "indices": [6], "chunk_size": 1})
    assert "exemplars.neurons: layer 3, neuron 6 is to be" in project.run(outside, check=False).stderr


def test_explainers_of_several_runs_compete(project, finished):
    """A second explainer's run takes the first one's candidates beside its own."""
    config = changed(tiny_config(), run="second", evidence="tiny", descriptions__temperature=0.9)
    config = changed(config, descriptions__rivals=["tiny"])
    assert set(project.planned(config)) == {"gather_descriptions", "probe", *DESCRIPTIONS}
    project.run(config, "results/second/descriptions/layer-1/chunk-0.parquet", "--cores", "2")
    folder = project.folder / "results/second/descriptions"
    rows = pq.read_table(folder / "layer-1/chunk-0.parquet").to_pylist()
    own = pq.read_table(folder / "own/layer-1/chunk-0.parquet").to_pylist()
    theirs = pq.read_table(finished.file("descriptions/layer-1/chunk-0.parquet")).to_pylist()
    said = [(r["neuron"], r["sign"], r["description"]) for r in rows]
    assert len(rows) == 16 and [r["candidate"] for r in rows] == [0, 1, 2, 3] * 4
    assert set(said) == {(r["neuron"], r["sign"], r["description"]) for r in (*own, *theirs)}
    assert {r["explainer"].endswith(" (tiny)") for r in rows if r["candidate"] > 1} == {True}
    unmade = project.run(changed(config, descriptions__rivals=["nobody"]), check=False)
    assert unmade.returncode != 0 and "results/nobody/descriptions/layer-" in unmade.stdout + unmade.stderr


def own_files_config():
    """The demo with an explainer and texts of the user's own, beside its adapter."""
    config = demo_config()
    config["models"]["own"] = {"source": "path", "path": "own"}
    config["descriptions"]["explainer"] = {"model": "own"}
    texts = {"source": "path", "path": "texts/*.txt", "format": "text", "ratio": 0.5}
    config["corpus"]["sources"] = {"own": texts, "sotu": config["corpus"]["sources"]["sotu"]}
    return config


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A run whose files are all there, empty, and recorded as made: enough for what is planned."""
    project = Project(tmp_path_factory.mktemp("recorded") / "first")
    for name, text in {"own/config.json": "{}", "own/model.safetensors": "weights", "texts/a.txt": "A text."}.items():
        (project.folder / name).parent.mkdir(exist_ok=True)
        (project.folder / name).write_text(text)
    record(project, own_files_config())
    return project


def test_times_and_neighbours_rerun_nothing(recorded, tmp_path):
    """Every file of a checkout and of the user touched; a card, a lock file, another layout of JSON; all moved."""
    folder = tmp_path / "moved"
    shutil.copytree(recorded.folder, folder)
    adapter = folder / "config/simulators/smollm2-135m"
    (adapter / "README.md").write_text("# Rewritten")
    settings = adapter / "adapter_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()), indent=4))
    prompt = folder / "config/prompts/words.yaml"
    prompt.write_bytes(("\ufeff# A comment.\n" + prompt.read_text() + "\n\n").replace("\n", "\r\n").encode())
    for name in (
        "own/README.md",
        "own/model.safetensors.lock",
        "own/._config.json",
        "texts/.a.txt.swp",
        "texts/._a.txt",
    ):
        (folder / name).touch()
    for path in folder.rglob("*"):
        if not {".snakemake", "results", "resources"} & set(path.relative_to(folder).parts):
            path.touch()  # new times, as `git clone` gives; what was made and fetched keeps its own
    assert Project(folder).planned(own_files_config()) == {}


@pytest.mark.parametrize(
    ("file", "old", "new", "rerun"),
    [
        ("own/config.json", r"{}", '{"hidden_size": 8}', DESCRIPTIONS),
        ("texts/a.txt", r"A text", "B text", {"fetch_documents", "build_corpus", "probe", *CONCEPTS, *EXEMPLARS}),
        ("config/prompts/words.yaml", r"one short phrase", "a phrase", DESCRIPTIONS),
        ("config/null-descriptions.yaml", r"weekdays", "weekdayz", SCORES),
        (
            "config/simulators/smollm2-135m/adapter_config.json",
            r'"lora_alpha": \d+',
            '"lora_alpha": 1',
            {"merge_adapter", *SIMULATED},
        ),
    ],
)
def test_an_edit_of_own_files_reruns_what_depends_on_it(recorded, file, old, new, rerun):
    undo = edit(recorded, file, old, new, untimed=True)
    planned = set(recorded.planned(own_files_config()))
    undo()
    assert planned == rerun


SECTIONS = "scripts/neuron_descriptions/config"


def test_a_new_key_with_its_default_reruns_nothing(recorded):
    """Of every section that a rule reads, one that a job makes anew, and one of a text source."""
    undo = []
    for file, section in (
        ("descriptions", "Descriptions"),
        ("descriptions", "FewShot"),
        ("scores", "Simulator"),
        ("scores", "Scores"),
        ("corpus", "Corpus"),
        ("corpus", "Text"),
        ("exemplars", "HarvestedExemplars"),
        ("models", "WheelModel"),
        ("sections", "Config"),
    ):
        head = rf'(class {section}\(.*\):\n    """(?:.|\n)*?""")'
        undo.append(
            edit(recorded, f"{SECTIONS}/{file}.py", head, r'\1\n\n    patience: int | None = 7\n    """New."""')
        )
    assert recorded.planned(own_files_config()) == {}
    for back in reversed(undo):
        back()


def test_a_changed_default_reruns_what_its_version_says(recorded):
    key, with_version = r"attempts: PositiveInt16 = 3", "version = 4\n    attempts: PositiveInt16 = 4"
    undo = edit(recorded, f"{SECTIONS}/descriptions.py", key, with_version)
    planned = set(recorded.planned(own_files_config()))
    undo()
    assert planned == DESCRIPTIONS


def test_no_score_is_made_again_for_a_probe(recorded):
    config = changed(own_files_config(), scores__probe="off")
    assert set(recorded.planned(config)) - {"write_provenance"} == set()


def test_what_runs_share_is_not_deleted_with_one_of_them(recorded):
    """Snakemake's --delete-all-output would take models, texts and another run's exemplars along."""
    before = sorted(recorded.folder.rglob("*.parquet"))
    done = recorded.run(changed(own_files_config(), run="second", evidence="demo"), "--delete-all-output", check=False)
    assert done.returncode != 0 and sorted(recorded.folder.rglob("*.parquet")) == before
    for words in ("nothing was deleted", "resources", "results/demo", "rm -r results/second"):
        assert words in done.stderr
