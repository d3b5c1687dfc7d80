"""What a rule's result depends on in the code, and what a run was made with.

Snakemake sees neither edits in modules that a script imports nor that an edit was only a comment. So
every rule has `params: code=digest("<adapter>.py")`.
"""

import ast
import importlib.metadata
import json
from collections.abc import Iterable
from contextlib import nullcontext
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, NamedTuple

from neuron_descriptions.common.storage import whole

SCRIPTS = Path(__file__).parents[2]
PACKAGE = Path(__file__).parents[1].name
# Changes in these never change a result.
PRESENTATION = frozenset({"logs.py"})


def digest(adapter: str, scripts: Path = SCRIPTS, without: Iterable[str] = ()) -> str:
    """Hash of an adapter and of the library modules it imports, directly or not: their syntax trees without
    comments and docstrings. without: modules, such as "clients/vllm", that this run of it does not import. Raises
    FileNotFoundError for an unknown adapter."""
    hasher = sha256()
    for path in sorted(_closure(scripts / adapter, scripts, {scripts / PACKAGE / f"{name}.py" for name in without})):
        hasher.update(f"{path.relative_to(scripts)}:{_facts(path, scripts).meaning}\n".encode())
    return hasher.hexdigest()[:16]


def _closure(path: Path, scripts: Path, without: set[Path]) -> set[Path]:
    seen: set[Path] = set()
    todo = [path]
    while todo:
        path = todo.pop()
        if path not in seen | without and path.name not in PRESENTATION:
            seen.add(path)
            todo += _facts(path, scripts).imports
    return seen


class _Facts(NamedTuple):
    meaning: str  # hash of the syntax tree without comments and docstrings
    imports: list[Path]  # library files that it imports, at any depth of its code


def _facts(path: Path, scripts: Path) -> _Facts:
    return _facts_of_version(path, scripts, path.stat().st_mtime_ns)


@cache
def _facts_of_version(path: Path, scripts: Path, mtime_ns: int) -> _Facts:
    # Each file is read once for all rules: every start of Snakemake waits for this, also a job's on a cluster.
    tree = ast.parse(path.read_text())
    named: list[Path] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom | ast.Import):
            named += _named(node, path, scripts)
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            # Every bare string, not only the first: attribute docstrings are comments too.
            node.body = [s for s in node.body if not _is_string(s)] or [ast.Pass()]
    files = [file for file in named if file.is_file()]
    packages = {parent for file in files for parent in file.parents if scripts in parent.parents}
    files += [package / "__init__.py" for package in packages if (package / "__init__.py").is_file()]
    return _Facts(sha256(ast.dump(tree).encode()).hexdigest(), files)


def _named(node: ast.ImportFrom | ast.Import, path: Path, scripts: Path) -> list[Path]:
    """Files that an import in a file may mean."""
    if isinstance(node, ast.Import):
        names = [alias.name.split(".") for alias in node.names]
        return [scripts.joinpath(*name).with_suffix(".py") for name in names if name[0] == PACKAGE]
    words = (node.module or "").split(".")
    if not node.level and words[0] != PACKAGE:
        return []
    target = (path.parents[node.level - 1] if node.level else scripts).joinpath(*words)
    return [target.with_suffix(".py"), target / "__init__.py", *(target / f"{alias.name}.py" for alias in node.names)]


def _is_string(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def file_digest(*files: str | Path | IO[bytes]) -> str:
    """sha256 of a file's bytes, or of several files' one after the other, in hex; an open one's from where it is."""
    hasher = sha256()
    for file in files:
        with open(file, "rb") if isinstance(file, str | Path) else nullcontext(file) as f:
            while block := f.read(1 << 20):
                hasher.update(block)
    return hasher.hexdigest()


def check_sha256(expected: str, what: str, *files: Path | IO[bytes]) -> None:
    """Raises ValueError where the checksum of a file, or of several, is another than the config's."""
    found = file_digest(*files)
    if found != expected:
        raise ValueError(f"{what}: sha256 is {found}, the config says {expected}; it is not the file you expect")


def write_provenance(path: str, config: dict[str, Any], packages: list[str]) -> None:
    """Write the run's configuration and the versions of the packages behind it, as JSON. Holds no time and no
    host, so that equal runs give equal bytes."""
    versions = {name: importlib.metadata.version(name) for name in packages}
    with whole(path) as part:
        part.write_text(json.dumps({"config": config, "packages": versions}, indent=2) + "\n")
