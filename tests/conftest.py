"""What tests share: the real model and texts, fetched by the workflow itself, and runs in folders of their own."""

import copy
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from filelock import FileLock

import forked
import small
from s3_server import S3Server

ROOT = Path(__file__).parents[1]
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # test processes share the cores

# Fixtures that take long: what needs one is left out of `make test FAST=1`.
SLOW = {"smollm2", "model", "corpus", "finished", "s3", "browser", "rehearsed"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if SLOW & set(getattr(item, "fixturenames", ())):
            item.add_marker("slow")
    # Whole modules go to one test process (their fixtures are costly), in this order: those that run the workflow
    # first, since they take longest.
    items.sort(key=lambda item: str(item.path), reverse=True)
    items.sort(key=lambda item: "workflow" not in item.path.parts)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Of a failure elsewhere one wants to know where: processors round in ways of their own."""
    if terminalreporter.stats.get("failed"):
        from neuron_descriptions.models.processor import kind_of_processor

        terminalreporter.write_line(f"Failed on {kind_of_processor()}, {os.cpu_count()} cores.")


def demo_config() -> dict[str, Any]:
    """The demo's configuration, to change; with an explainer, whose candidates come first, and without a panel."""
    config = yaml.safe_load((ROOT / "config/demo.yaml").read_text())
    del config["panel"], config["atlas"]
    explained = {"explainer": {"model": config["subject"]["model"]}, "prompt": "config/prompts/words.yaml"}
    config["descriptions"] |= explained | {"candidates": 2, "temperature": 0.7, "max_tokens": 30, "min_highlights": 10}
    return config


def tiny_config() -> dict[str, Any]:
    """The demo cut down to what a test can wait for: two layers, two neurons, short texts; and an explainer and a
    simulator that are six layers of the subject, prompted: most tests need no trained one."""
    config = demo_config()
    config["run"] = "tiny"
    config["corpus"] |= {"seq_len": 40, "sequences": {"train": 72, "valid": 40, "test": 40}}
    config["neurons"] = {"layers": [1, 3], "indices": [5, "699-699"], "chunk_size": 2}
    config["exemplars"] = {"k": 12, "random": 4, "batch_size": 8}
    config["descriptions"] |= {"pool": 12, "max_tokens": 8, "min_highlights": 3}
    config["scores"] |= {"top": 3, "middle": 1, "random": 1, "nulls": 2, "bootstrap": 100}
    del config["scores"]["pool_nulls"]
    config["scores"]["probe"] = "off"  # it would stop the run: see below
    config["models"] = {name: spec for name, spec in config["models"].items() if spec["source"] != "adapter"}
    config["descriptions"] |= {"candidates": 2, "token_candidates": 0, "concept_candidates": 0}
    small.made_smaller(config)
    return config


CODE = ("Snakefile", "rules", "scripts", "config", "envs", "profiles")


def snakemake(
    cwd: Path, *args: str, check: bool = True, env: dict[str, str] | None = None, as_user: bool = False
) -> subprocess.CompletedProcess:
    """Run the workflow in a checkout, in an environment; as_user: nothing of it is imported beforehand."""
    if as_user:
        command = [sys.executable, "-m", "snakemake", *args]
        done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    else:
        done = forked.snakemake(cwd, *args, env=os.environ if env is None else env)
    assert not check or done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done


@dataclass
class Project:
    """A checkout of its own, made of the code alone unless the folder is one already; what is fetched once is shared
    with this one."""

    folder: Path

    def __post_init__(self) -> None:
        if (self.folder / "Snakefile").exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in CODE:
            source, target = ROOT / name, self.folder / name
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, target, copy_function=shutil.copyfile, ignore=ignored)
            else:
                shutil.copyfile(source, target)
        (self.folder / "resources").symlink_to(ROOT / "resources")

    def run(self, config: dict[str, Any], *args: str, **options: Any) -> subprocess.CompletedProcess:
        """Run with a configuration; further arguments are Snakemake's."""
        (self.folder / "run.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        return snakemake(self.folder, *args, "--configfile", "run.yaml", **options)

    def planned(self, config: dict[str, Any], *args: str) -> dict[str, int]:
        """Rules that a dry run would run, with their numbers of jobs."""
        text = self.run(config, "--dry-run", *args).stdout
        _, _, stats = text.partition("Job stats:")
        lines = (line.split() for line in stats.split("\n\n")[0].splitlines()[3:])
        return {words[0]: int(words[1]) for words in lines if words and words[0] not in ("total", "all")}

    def file(self, path: str) -> Path:
        """A result of the run `tiny`."""
        return self.folder / "results/tiny" / path


def record(project: Project, config: dict[str, Any]) -> None:
    """Have all files of a run, empty, and recorded as made: enough for what is planned. Its `resources` are its own."""
    (project.folder / "resources").unlink()
    rows = [line.split("\t") for line in project.run(config, "--summary").stdout.splitlines()[1:]]
    for path in (project.folder / row[0] for row in rows if len(row) > 1 and "temp" not in row[4]):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if path.parent.name == "models" or "details" in path.parts else path.touch()
    project.run(config, "--touch", "--cores", "1")


def once(folder: Path, make: Callable[[Path], Any]) -> Path:
    """A folder that the first of the test processes makes, and that all of them read."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    done = folder / ".done"
    with FileLock(folder.with_suffix(".lock")):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def folder_of_all(tmp_path_factory) -> Path:
    """A folder of this call of pytest, for all its processes (pytest-xdist)."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session", autouse=True)
def fetched(folder_of_all) -> dict[str, Path]:
    """The demo's model and documents: `smollm2`, `sotu`, `factbook`, `chitchat` -> path; and the small ones of
    `tiny_config`, which are made of them."""
    from neuron_descriptions.config.sections import load_config
    from neuron_descriptions.config.sources import spec_key

    (ROOT / "resources").mkdir(exist_ok=True)
    config = load_config(demo_config())
    name, model = next(iter(config.models.items()))
    paths = {"smollm2": f"resources/models/{name}-{spec_key(model)}"}
    for source, spec in config.corpus.sources.items():
        paths[source] = f"resources/documents/{source}-{spec_key(spec, 'ratio')}-seed-{config.seed}.parquet"
    found = {key: ROOT / path for key, path in paths.items()}

    def make(folder: Path) -> None:
        arguments = ("--nolock", "--quiet", "all", "--configfile")
        snakemake(ROOT, *arguments, "config/demo.yaml", "--", *paths.values())
        small.write_small(found, small.SMALL)
        tiny = folder / "tiny.yaml"
        tiny.write_text(yaml.safe_dump(tiny_config(), sort_keys=False))
        texts = load_config(tiny_config()).corpus.sources.items()
        tables = [f"resources/documents/{n}-{spec_key(spec, 'ratio')}-seed-{config.seed}.parquet" for n, spec in texts]
        # Before any test: all projects share them.
        snakemake(ROOT, *arguments, str(tiny), "--", *tables)

    once(folder_of_all / "fetched", make)
    return found


@pytest.fixture(scope="session")
def smollm2(fetched) -> str:
    """Folder of the real SmolLM2-135M-Instruct."""
    return str(fetched["smollm2"])


@pytest.fixture(scope="session")
def tokenizer(smollm2):
    """Its tokenizer."""
    from neuron_descriptions.models.loading import load_tokenizer

    return load_tokenizer(smollm2)


@pytest.fixture(scope="session")
def model(smollm2):
    """It, with its head, in float32."""
    from neuron_descriptions.models.loading import load_model

    return load_model(smollm2, "float32", head=True, threads=2)


@pytest.fixture(scope="session")
def corpus(fetched, smollm2, folder_of_all) -> dict[str, str]:
    """A small real corpus of all three sources: split -> table."""
    from neuron_descriptions.common.vocabulary import SPLITS
    from neuron_descriptions.config.sections import load_config
    from neuron_descriptions.corpus.building import Cut, Mixture, build_corpus

    config = load_config(tiny_config())
    ratios = {name: spec.ratio for name, spec in config.corpus.sources.items()}

    def make(folder: Path) -> None:
        documents = {name: str(folder / f"{name}.parquet") for name in ratios}
        for name, path in documents.items():
            pq.write_table(pq.read_table(fetched[name]).slice(0, 400 if name == "chitchat" else 40), path)
        cut = Cut(config.corpus.seq_len, config.corpus.chat_prefix, config.corpus.windows_per_document)
        outputs = {split: str(folder / f"{split}.parquet") for split in SPLITS}
        mixture = Mixture(documents, ratios, smollm2, cut, seed=0)
        build_corpus(mixture, config.corpus.sequences.model_dump(), outputs)

    folder = once(folder_of_all / "corpus", make)
    return {split: str(folder / f"{split}.parquet") for split in SPLITS}


@pytest.fixture(scope="session")
def finished(fetched) -> Project:
    """A finished run of the tiny configuration, kept for later calls of pytest as long as no code changes. Tests read
    it; those that change something copy it first."""
    from neuron_descriptions.common.provenance import file_digest

    files = [
        ROOT / "requirements.lock",
        Path(__file__),
        Path(small.__file__),
        *(p for n in CODE for p in (ROOT / n, *(ROOT / n).rglob("*"))),
    ]
    code = file_digest(*sorted(p for p in files if p.is_file() and "__pycache__" not in p.parts))
    kept = ROOT / ".pytest_cache/finished" / code[:16]
    for old in kept.parent.glob("*/"):
        if old != kept:
            shutil.rmtree(old, ignore_errors=True)
    return Project(once(kept, lambda folder: Project(folder).run(tiny_config())))


@pytest.fixture(scope="session")
def s3(tmp_path_factory) -> Iterator[S3Server]:
    """A real S3 server; tests keep to prefixes of their own."""
    with S3Server(tmp_path_factory.mktemp("s3") / "server") as server:
        yield server


KINDS = (
    "exemplars/layer-*/chunk-*.parquet",
    "exemplars/layer-*/statistics-chunk-*.parquet",
    "descriptions/layer-*/chunk-*.parquet",
    "scores/layer-*/chunk-*.parquet",
    "scores/layer-*/simulations-chunk-*.parquet",
)


def tables(project: Project, pattern: str) -> Any:
    """All files of one kind as one data frame, in an order that does not depend on how it is cut in chunks."""
    files = sorted(project.file(".").glob(pattern))
    assert files, pattern
    table = pq.ParquetDataset(files).read().to_pandas()
    keys = [k for k in ("layer", "neuron") if k in table]
    return table.sort_values(keys, kind="stable", ignore_index=True)


def with_results_of(project: Project, folder: Path) -> Project:
    """Another fresh checkout, with a copy of a project's results and of Snakemake's records of them."""
    copy = Project(folder)
    for name in ("results", ".snakemake"):
        subprocess.run(["cp", "-a", project.folder / name, folder], check=True)
    return copy


def changed(config: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A configuration with `section__key=value` changed."""
    config = copy.deepcopy(config)
    for path, value in changes.items():
        *sections, key = path.split("__")
        place = config
        for section in sections:
            place = place.setdefault(section, {})
        place[key] = value
    return config


@pytest.fixture(scope="module")
def browser():
    """Chromium, without a display."""
    sync_api = pytest.importorskip("playwright.sync_api")
    if not shutil.which("chromium"):
        if os.geteuid():
            pytest.skip("no chromium here, and not root to install it")
        done = subprocess.run(["apt-get", "install", "-y", "-q", "chromium"], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"chromium cannot be installed: {done.stderr[-200:]}")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    """An offline tab that accepts no error and no request but for files."""
    troubles = []
    page = browser.new_page(offline=True)
    page.set_default_timeout(10_000)
    page.on("console", lambda m: troubles.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("dialog", lambda dialog: (troubles.append("dialog"), dialog.dismiss()))
    page.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else troubles.append(r.url))
    yield page
    page.close()
    assert troubles == []
