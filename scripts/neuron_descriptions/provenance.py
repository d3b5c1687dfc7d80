"""What a rule's result depends on in the code, and what a run was made with.

Snakemake sees neither edits in modules that a script imports nor that an edit was only a comment. So
every rule has `params: code=digest("<adapter>.py")`.
"""

import ast
import importlib.metadata
import json
from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from .storage import whole

SCRIPTS = Path(__file__).parents[1]
PACKAGE = Path(__file__).parent.name
# Changes in these never change a result.
PRESENTATION = frozenset({"logs.py"})


def digest(adapter: str, scripts: Path = SCRIPTS, without: Iterable[str] = ()) -> str:
    """Hash of an adapter and of the library modules it imports, directly or not: their syntax trees without
    comments and docstrings. without: modules, such as "clients/vllm", that this run of it does not import. Raises
    FileNotFoundError for an unknown adapter."""
    hasher = sha256()
    for path in sorted(_closure(scripts / adapter, scripts, {scripts / PACKAGE / f"{name}.py" for name in without})):
        hasher.update(f"{path.relative_to(scripts)}:{_meaning(path)}\n".encode())
    return hasher.hexdigest()[:16]


def _closure(path: Path, scripts: Path, without: set[Path]) -> set[Path]:
    seen: set[Path] = set()
    todo = [path]
    while todo:
        path = todo.pop()
        if path not in seen | without and path.name not in PRESENTATION:
            seen.add(path)
            todo += _imports(path, scripts)
    return seen


@cache
def _tree(path: Path, mtime_ns: int) -> ast.Module:
    return ast.parse(path.read_text())


def _parse(path: Path) -> ast.Module:
    return _tree(path, path.stat().st_mtime_ns)


def _imports(path: Path, scripts: Path) -> list[Path]:
    """Library files that a file imports, at any depth of its code."""
    found = []
    for node in ast.walk(_parse(path)):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                base = path.parents[node.level - 1]
            elif (node.module or "").split(".")[0] == PACKAGE:
                base = scripts
            else:
                continue
            target = base.joinpath(*(node.module or "").split("."))
            found += [target.with_suffix(".py"), target / "__init__.py"]
            found += [target / f"{alias.name}.py" for alias in node.names]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == PACKAGE:
                    found.append(scripts.joinpath(*alias.name.split(".")).with_suffix(".py"))
    files = [file for file in found if file.is_file()]
    packages = {parent for file in files for parent in file.parents if scripts in parent.parents}
    return files + [package / "__init__.py" for package in packages if (package / "__init__.py").is_file()]


@cache
def _dump(path: Path, mtime_ns: int) -> str:
    tree = _tree(path, mtime_ns)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            # Every bare string, not only the first: attribute docstrings are comments too.
            node.body = [s for s in body or [] if not _is_string(s)] or [ast.Pass()]
    return ast.dump(tree)


def _meaning(path: Path) -> str:
    return _dump(path, path.stat().st_mtime_ns)


def _is_string(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def file_digest(*paths: str | Path) -> str:
    """sha256 of a file's bytes, or of several files' one after the other, in hex."""
    hasher = sha256()
    for path in paths:
        with open(path, "rb") as f:
            while block := f.read(1 << 20):
                hasher.update(block)
    return hasher.hexdigest()


def check_sha256(expected: str, what: str, *paths: Path) -> None:
    """Raises ValueError where the checksum of a file, or of several, is another than the config's."""
    found = file_digest(*paths)
    if found != expected:
        raise ValueError(f"{what}: sha256 is {found}, the config says {expected}; it is not the file you expect")


def write_provenance(path: str, config: dict[str, Any], packages: list[str]) -> None:
    """Write the run's configuration and the versions of the packages behind it, as JSON. Holds no time and no
    host, so that equal runs give equal bytes."""
    versions = {name: importlib.metadata.version(name) for name in packages}
    with whole(path) as part:
        part.write_text(json.dumps({"config": config, "packages": versions}, indent=2) + "\n")
