"""What reruns a rule: its code's digest. And what keeps that digest honest: thin adapters, narrow imports."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import ROOT
from neuron_descriptions.common.provenance import _statements, digest, file_digest, write_provenance

SCRIPTS = ROOT / "scripts"
ADAPTERS = sorted(path.name for path in SCRIPTS.glob("*.py"))
LIBRARY = sorted((SCRIPTS / "neuron_descriptions").rglob("*.py"))


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A copy of the scripts folder for all tests: what none of them edits is read once."""
    return tmp_path_factory.mktemp("clone") / "scripts"


@pytest.fixture
def edit(clone) -> Callable[..., Path]:
    """The copy as the checkout is, times included, with a text in one file of the library (or an adapter) replaced."""

    def copy(file: str = "", old: str = "", new: str = "") -> Path:
        for path in sorted(clone.rglob("*"), reverse=True):
            if not (SCRIPTS / path.relative_to(clone)).exists():
                path.rmdir() if path.is_dir() else path.unlink()
        shutil.copytree(SCRIPTS, clone, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        if file:
            path = clone / file
            text = path.read_text()
            assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {file}"
            path.write_text(text.replace(old, new))
        return clone

    return copy


def changed_adapters(scripts: Path) -> set[str]:
    """Adapters whose digest is another than the checkout's."""
    return {name for name in ADAPTERS if digest(name, scripts) != digest(name)}


# --- what a digest follows ---------------------------------------------------------------------------


def test_copy_has_the_same_digests(edit):
    assert changed_adapters(edit()) == set()


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_digest_is_short_hex(adapter):
    assert len(digest(adapter)) == 16
    assert set(digest(adapter)) <= set("0123456789abcdef")


def test_adapters_differ():
    assert len(ADAPTERS) > 8
    assert len({digest(name) for name in ADAPTERS}) == len(ADAPTERS)


def test_digest_is_the_same_in_another_process():
    code = (
        "import json; from pathlib import Path; from neuron_descriptions.common.provenance import SCRIPTS, digest;"
        "print(json.dumps({p.name: digest(p.name) for p in SCRIPTS.glob('*.py')}))"
    )
    here = {name: digest(name) for name in ADAPTERS}
    for seed in ("1", "2"):
        env = os.environ | {"PYTHONPATH": str(SCRIPTS), "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout) == here


CORPUS = "neuron_descriptions/corpus/building.py"
TABLES = "neuron_descriptions/corpus/tables.py"
# What cuts texts into sequences: those of a corpus, and those that are written to descriptions.
CUTTING = {"build_corpus.py", "build_panel.py", "gather_texts.py", "run_texts.py"}


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (CORPUS, "# --- windows ---", "# reworded\n# --- cuts ---"),
        (CORPUS, "# A window shorter than", "# One that is shorter than"),
        (CORPUS, "SHORTEST = 0.5\n", "SHORTEST = 0.5  # half\n"),
        (CORPUS, '"""The corpus: ', '"""All the texts: '),
        (CORPUS, '"""63 bits of a hash', '"""Some bits of a hash'),
        (CORPUS, '"""A sequence in the making: ', '"""A sequence: '),
        (CORPUS, "    document: int\n", '    document: int\n    """Fingerprint."""\n'),
        (CORPUS, "SHORTEST = 0.5\n", 'SHORTEST = 0.5\n"""Half."""\n'),
        (CORPUS, "SHORTEST = 0.5\n", "\n\nSHORTEST = 0.5\n\n\n"),
        (CORPUS, "SHORTEST = 0.5\n", "SHORTEST = (\n    0.5\n)\n"),
        (TABLES, "# leading template tokens", "# tokens of the template"),
        ("build_corpus.py", "with job_log", "\n# the work\nwith job_log"),
        ("neuron_descriptions/__init__.py", '"""What every', '"""What any'),
    ],
)
def test_wording_and_layout_change_nothing(edit, file, old, new):
    assert changed_adapters(edit(file, old, new)) == set()


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (CORPUS, "SHORTEST = 0.5\n", "SHORTEST = 0.4\n"),
        (CORPUS, "if end - start >= SHORTEST", "if end - start > SHORTEST"),
        (CORPUS, "return sorted(found, key=lambda w: w.order)[", "return found["),
        (CORPUS, "return key(document if isinstance(document, str) else json.dumps(document)) >> 1", "return 7"),
        (CORPUS, 'generator(seed, "offset", fingerprint)', 'generator(seed, "start", fingerprint)'),
        (CORPUS, "@dataclass(slots=True)", "@dataclass"),
        ("build_corpus.py", "seed=snakemake.params.seed,", "seed=1 + snakemake.params.seed,"),
    ],
)
def test_formula_or_constant_changes_its_rule(edit, file, old, new):
    adapters = {file} if file == "build_corpus.py" else CUTTING
    assert changed_adapters(edit(file, old, new)) == adapters


EVERYWHERE = """
import a
match a:
    case 1:
        import b
    case _:
        async def f():
            async with a as x:
                import c
            async for y in x:
                import d
            else:
                import e
try:
    import f
except* ValueError:
    import g
else:
    import h
finally:
    while a:
        import i
"""


@pytest.mark.parametrize("text", [EVERYWHERE, *(path.read_text() for path in LIBRARY[::20])], ids=lambda text: "")
def test_statements_are_met_wherever_they_stand_in_the_order_of_a_walk(text):
    holding = (ast.Module, ast.stmt, ast.excepthandler, ast.match_case)
    tree = ast.parse(text)
    assert list(_statements(tree)) == [node for node in ast.walk(tree) if isinstance(node, holding)]


def test_the_template_is_also_the_imports(edit):
    adapters = CUTTING | {"list_exemplars.py"}
    assert (
        changed_adapters(edit("neuron_descriptions/corpus/templates.py", "return text.strip()", "return text"))
        == adapters
    )


def test_indirectly_imported_module_counts(edit):
    # build_corpus.py -> corpus.py -> random_streams.py; build_corpus.py -> corpus.py -> models.py
    scripts = edit("neuron_descriptions/common/streams.py", "np.random.Philox(", "np.random.PCG64(")
    assert {"build_corpus.py", "harvest.py"} <= changed_adapters(scripts)
    scripts = edit("neuron_descriptions/models/loading.py", "skip_special_tokens=False", "skip_special_tokens=True")
    assert "build_corpus.py" in changed_adapters(scripts)


def test_import_inside_a_function_counts(edit):
    scripts = edit(
        CORPUS,
        "    template, ratios, seed = mixture.template(), mixture.ratios, mixture.seed\n",
        "    from neuron_descriptions.atlas import building\n"
        "    template, ratios, seed = mixture.template(), mixture.ratios, mixture.seed\n",
    )
    before = digest("build_corpus.py", scripts)
    path = scripts / "neuron_descriptions/atlas/building.py"
    path.write_text(path.read_text() + "\nEXTRA = 1\n")
    assert digest("build_corpus.py", scripts) != before


@pytest.mark.parametrize(
    "statement",
    [
        "import neuron_descriptions.extra",
        "import neuron_descriptions.extra as extra",
        "from neuron_descriptions import extra",
        "from neuron_descriptions.extra import VALUE",
        "import neuron_descriptions.part.inner",
        "from neuron_descriptions.part import inner",
        "from neuron_descriptions.part.inner import VALUE",
    ],
)
def test_every_form_of_import_counts(edit, statement):
    scripts = edit(
        "build_corpus.py",
        "from neuron_descriptions.corpus.building",
        f"{statement}\nfrom neuron_descriptions.corpus.building",
    )
    package = scripts / "neuron_descriptions"
    (package / "part").mkdir()
    (package / "part/__init__.py").touch()
    modules = [package / "extra.py", package / "part/inner.py"]
    for module in modules:
        module.write_text("VALUE = 1\n")
    before = digest("build_corpus.py", scripts)
    for module in modules:
        module.write_text("VALUE = 1 + 1\n")
        os.utime(module, (0, 0))  # a time of its own, however coarse the file system's clock
    assert digest("build_corpus.py", scripts) != before


@pytest.mark.parametrize(
    "statement",
    ["import neuron_descriptions.part.inner", "from neuron_descriptions.part.inner import VALUE"],
)
def test_init_of_an_imported_package_counts(edit, statement):
    scripts = edit(
        "build_corpus.py",
        "from neuron_descriptions.corpus.building",
        f"{statement}\nfrom neuron_descriptions.corpus.building",
    )
    part = scripts / "neuron_descriptions/part"
    part.mkdir()
    (part / "__init__.py").write_text("LIMIT = 1\n")  # runs whenever part.inner is imported
    (part / "inner.py").write_text("VALUE = 1\n")
    before = digest("build_corpus.py", scripts)
    (part / "__init__.py").write_text("LIMIT = 1 + 1\n")
    os.utime(part / "__init__.py", (0, 0))
    assert digest("build_corpus.py", scripts) != before


def test_module_that_is_not_imported_does_not_count(edit):
    adapters = changed_adapters(edit("neuron_descriptions/models/fetching.py", '"--no-deps"', '"--quiet"'))
    assert adapters == {"fetch_documents.py", "fetch_embeddings.py", "fetch_model.py"}
    adapters = changed_adapters(edit("neuron_descriptions/corpus/building.py", "room < 4", "room < 5"))
    assert adapters == CUTTING


def test_new_module_that_nobody_imports_does_not_count(edit):
    scripts = edit()
    (scripts / "neuron_descriptions/extra.py").write_text("VALUE = 1\n")
    assert changed_adapters(scripts) == set()


def test_logs_do_not_count(edit):
    assert (
        changed_adapters(edit("neuron_descriptions/common/logs.py", "every: float = 10.0", "every: float = 60.0"))
        == set()
    )


def test_the_configuration_does_not_count(edit):
    """What it holds is in params: a new key changes no digest."""
    scripts = edit()
    for path in (scripts / "neuron_descriptions/config").glob("*.py"):
        path.write_text(path.read_text() + "\nEXTRA = 1\n")
    assert changed_adapters(scripts) == set()


# Adapters by stage, each with the stages before it that must not hear of its columns.
STAGES = {
    "models": {"fetch_model.py", "merge_adapter.py", "randomize_model.py"},
    "corpus": {"fetch_documents.py", "build_corpus.py"},
    "harvest": {"harvest.py", "merge_exemplars.py", "list_exemplars.py", "import_exemplars.py"},
    "descriptions": {"describe.py", "account.py", "gather_descriptions.py", "read_descriptions.py"},
    "scores": {"pool_nulls.py", "score.py"},
    "atlas": {
        "build_atlas.py",
        "write_details.py",
        "write_atlas_page.py",
        "write_neuron_page.py",
        "write_first_page.py",
        "plot_scores.py",
    },
}


@pytest.mark.parametrize(
    ("stage", "table", "maker"),
    [
        ("corpus", "CORPUS", "build_corpus.py"),
        ("harvest", "EXEMPLARS", "merge_exemplars.py"),
        ("harvest", "STATISTICS", "merge_exemplars.py"),
        ("descriptions", "DESCRIPTIONS", "describe.py"),
        ("scores", "SCORES", "score.py"),
        ("scores", "SIMULATIONS", "score.py"),
        ("atlas", "ATLAS", "build_atlas.py"),
    ],
)
def test_a_column_of_a_table_changes_only_what_follows(edit, stage, table, maker):
    scripts = edit()
    path = scripts / f"neuron_descriptions/{stage}/tables.py"
    path.write_text(path.read_text() + f'\n{table} = {table}.append(pa.field("extra", pa.int8()))\n')
    changed = changed_adapters(scripts)
    before = set().union(*(STAGES[name] for name in list(STAGES)[: list(STAGES).index(stage)]))
    assert maker in changed
    assert changed & before == set()


@pytest.mark.parametrize(
    ("module", "place"),
    [
        ("common.streams", "common.randomness"),
        ("harvest.merging", "harvest.parts.merging"),
        ("scores.formulas", "atlas.formulas"),
        ("scores.tables", "scores.schemas"),
    ],
)
def test_moving_a_module_changes_nothing(edit, module, place):
    """Its file, every import of it, and the order in which imports then stand."""
    scripts = edit()
    package = scripts / "neuron_descriptions"
    old, new = (package / f"{name.replace('.', '/')}.py" for name in (module, place))
    new.parent.mkdir(exist_ok=True)
    (new.parent / "__init__.py").write_text('"""A package."""\n')
    old.rename(new)
    for path in scripts.rglob("*.py"):
        text = path.read_text()
        if f"neuron_descriptions.{module} import" in text:
            path.write_text(text.replace(f"neuron_descriptions.{module} import", f"neuron_descriptions.{place} import"))
    subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--quiet", "--select", "I", "--fix", scripts], check=True, cwd=ROOT
    )
    assert changed_adapters(scripts) == set()
    new.write_text(new.read_text() + "\nEXTRA = 1\n")
    assert changed_adapters(scripts) != set()


def test_the_module_that_a_name_comes_from_counts(edit):
    """Two modules with a function of one name: which of them is imported is no matter of names alone."""
    scripts = edit()
    package = scripts / "neuron_descriptions"
    for name, value in (("one", 1), ("two", 2)):
        (package / f"{name}.py").write_text(f"def number():\n    return {value}\n")
    path = package / "corpus/building.py"
    code = "from neuron_descriptions.{} import number\nfrom neuron_descriptions.{} import number as other\n"
    text = path.read_text()
    path.write_text(text + code.format("one", "two"))
    before = digest("build_corpus.py", scripts)
    path.write_text(text + code.format("two", "one"))
    os.utime(path, (0, 0))
    assert digest("build_corpus.py", scripts) != before


def test_edit_is_seen_in_the_same_process(edit):
    scripts = edit()
    before = digest("build_corpus.py", scripts)
    path = scripts / CORPUS
    path.write_text(path.read_text().replace("SHORTEST = 0.5", "SHORTEST = 0.4"))
    os.utime(path, (1, 1))
    assert digest("build_corpus.py", scripts) != before


def test_touch_changes_nothing(edit):
    scripts = edit()
    before = digest("build_corpus.py", scripts)
    for path in scripts.rglob("*.py"):
        os.utime(path, (2, 2))
    assert digest("build_corpus.py", scripts) == before


def test_unknown_adapter_is_an_error():
    with pytest.raises(FileNotFoundError, match="no_such"):
        digest("no_such.py")


# --- adapters and imports ----------------------------------------------------------------------------


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_adapter_is_thin(adapter):
    text = (SCRIPTS / adapter).read_text()
    assert len(text.splitlines()) <= 30
    tree = ast.parse(text)
    assert not [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.For | ast.While)
    ]
    modules = {node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    assert modules == {"neuron_descriptions"}


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_adapter_has_a_name_of_its_own(adapter):
    assert Path(adapter).stem not in sys.stdlib_module_names


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_adapter_is_a_rules(adapter):
    rules = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    assert f'"../scripts/{adapter}"' in rules
    assert f'digest("{adapter}"' in rules


def imports(path: Path) -> set[str]:
    """Top-level names of what a file imports, at any depth of its code."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module).split(".")[0])
    return found


@pytest.mark.parametrize("path", LIBRARY, ids=lambda p: p.stem)
def test_library_never_imports_snakemake(path):
    assert "snakemake" not in imports(path)


@pytest.mark.parametrize("path", LIBRARY, ids=lambda p: p.stem)
def test_library_imports_nothing_by_name(path):
    # digest() cannot see these.
    assert "importlib.import_module" not in path.read_text()
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    assert not [c for c in calls if isinstance(c.func, ast.Name) and c.func.id in ("__import__", "exec", "eval")]


def loaded(code: str) -> set[str]:
    """Top-level modules that are loaded once some code has run in a new process."""
    code += "\nimport sys; print('\\n'.join({name.split('.')[0] for name in sys.modules}))"
    env = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


HEAVY = {"torch", "transformers", "datasets", "pandas", "sklearn", "matplotlib", "scipy", "huggingface_hub"}


def test_parsing_the_workflow_loads_nothing_heavy():
    text = "\n".join(path.read_text() for path in (ROOT / "rules").rglob("*.smk"))
    code = re.findall(r"^from neuron_descriptions[^(\n]*(?:\([^)]*\))?$", text, re.MULTILINE)
    assert len(code) == text.count("\nfrom neuron_descriptions")
    modules = loaded("\n".join(code))
    assert "neuron_descriptions" in modules
    assert modules & HEAVY == set()


def test_planning_the_demo_loads_nothing_heavy():
    code = f"""
import os, yaml
os.chdir({str(ROOT)!r})
from neuron_descriptions.config.sections import load_config
from neuron_descriptions.run.selection import select_neurons
from neuron_descriptions.common.provenance import SCRIPTS, digest
select_neurons(load_config(yaml.safe_load(open("config/demo.yaml"))))
[digest(path.name) for path in SCRIPTS.glob("*.py")]
"""
    assert loaded(code) & HEAVY == set()


# --- checksums and what a run was made with ----------------------------------------------------------


def test_file_digest_is_sha256sums(tmp_path, fetched):
    (tmp_path / "empty").touch()
    for path in (fetched["factbook"], tmp_path / "empty"):
        expected = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout.split()[0]
        assert file_digest(path) == expected


def test_provenance_is_repeatable(tmp_path):
    for name in ("a", "b"):
        write_provenance(str(tmp_path / name), {"run": "demo", "seed": 0}, ["numpy", "pyarrow"])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    content = json.loads((tmp_path / "a").read_text())
    assert content["config"] == {"run": "demo", "seed": 0}
    assert set(content["packages"]) == {"numpy", "pyarrow"}
    assert content["packages"]["numpy"] == __import__("numpy").__version__
