"""What the library's files and functions keep to."""

import ast
import re
import tomllib

import yaml

from conftest import ROOT

FILES = sorted((ROOT / "scripts").rglob("*.py"))


def parameters(function: ast.FunctionDef) -> list[str]:
    given = function.args
    names = [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def test_no_public_function_has_more_than_eight_parameters():
    long = {
        f"{path.relative_to(ROOT)}: {node.name}": parameters(node)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and (not node.name.startswith("_") or node.name == "__init__")
    }
    assert {name: found for name, found in long.items() if len(found) > 8} == {}


def test_no_file_has_more_than_350_lines():
    assert {str(path.relative_to(ROOT)): n for path in FILES if (n := len(path.read_text().splitlines())) > 350} == {}


# Parameters and fields of a name that says settings: these reach the library as their section's class.
SETTINGS = {
    "access", "descriptions", "explainer", "features", "few_shot", "judge", "limits", "numbers", "place",
    "prices", "scores", "screen", "section", "settings", "simulator", "spec", "training", "wanted",
}  # fmt: skip
# What is read or kept as data, whose keys differ by kind.
AS_DATA = {
    "models/subjects.py": {"section"},  # of a model's own config.json
    "models/loading.py": {"settings"},  # arguments of another library
}


def annotated(tree: ast.Module) -> list[tuple[str, str]]:
    """Names of parameters and of classes' fields, with their annotations."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            found += [(one.arg, ast.unparse(one.annotation)) for one in given if one.annotation is not None]
        elif isinstance(node, ast.ClassDef):
            fields = [one for one in node.body if isinstance(one, ast.AnnAssign)]
            found += [(ast.unparse(one.target), ast.unparse(one.annotation)) for one in fields]
    return found


def test_settings_are_handed_over_as_classes():
    library = ROOT / "scripts/neuron_descriptions"
    found: dict[str, set[str]] = {}
    for path in sorted(library.rglob("*.py")):
        for name, annotation in annotated(ast.parse(path.read_text())):
            plain = annotation.replace("Mapping[", "dict[").removesuffix(" | None")
            if name in SETTINGS and plain in ("dict[str, Any]", "dict", "dict[str, object]"):
                found.setdefault(str(path.relative_to(library)), set()).add(name)
    assert found == AS_DATA


def test_one_module_turns_activations_by_sign_and_one_joins_exemplars_with_texts():
    """Readers of EXEMPLARS: who makes the tables, and the store."""
    library = ROOT / "scripts/neuron_descriptions"
    turning, reading = set(), set()
    for path in library.rglob("*.py"):
        text, name = path.read_text(), str(path.relative_to(library))
        if re.search(r"\b1(\.0)? if .*sign.* == .positive|-\w+ if .* == .negative", text):
            turning.add(name)
        if re.search(r"import .*\bEXEMPLARS\b", text):
            reading.add(name)
    assert turning == {"common/signs.py"}
    assert reading == {"harvest/exemplars.py", "harvest/merging.py", "imports/published.py"}


def test_the_version_stands_once():
    """pyproject.toml, CITATION.cff and the newest heading of CHANGELOG.md say the same one; a released one has its date
    in both (CONTRIBUTING.md says how a release is made)."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    newest = re.search(r"^## (.*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1]
    released = f" ({cited['date-released']})" if "date-released" in cited else ""
    assert cited["version"] == version
    assert newest == (f"{version}{released}" if released else f"Unreleased ({version})")
