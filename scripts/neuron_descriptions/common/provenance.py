"""What a rule's result depends on in the code, and what a run was made with.

Snakemake sees neither edits in modules that a script imports nor that an edit was only a comment. So
every rule has `params: code=digest("<adapter>.py")`.
"""

import ast
import importlib.metadata
import json
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, NamedTuple

from neuron_descriptions.common.storage import whole

SCRIPTS = Path(__file__).parents[2]
PACKAGE = Path(__file__).parents[1].name
# Changes in these never change a result: params say what the configuration holds, and logs are read by people alone.
APART = ("common/logs.py", "config/")


def digest(adapter: str, scripts: Path = SCRIPTS, without: Iterable[str] = ()) -> str:
    """Hash of an adapter and of the library modules it imports, directly or not: their syntax trees without
    comments and docstrings, where each import stands for what the imported module means, not for its name. So moving a
    module changes nothing. without: modules, such as "clients/vllm", that this run of it does not import. Raises
    FileNotFoundError for an unknown adapter."""
    apart = {scripts / PACKAGE / f"{name}.py" for name in without}
    return _meaning(scripts / adapter, scripts, apart, {})[:16]


def _meaning(path: Path, scripts: Path, apart: set[Path], known: dict[Path, str]) -> str:
    """Hash of what a file does, the library files that it imports included. known: of files that were met before, and
    of those that are being read: modules that import each other in a circle stand for their names there."""
    if path in known:
        return known[path]
    inside = path.relative_to(scripts / PACKAGE).as_posix() if scripts / PACKAGE in path.parents else ""
    if path in apart or (inside and inside.startswith(APART)):
        return ""
    known[path] = inside
    facts = _facts(path, scripts)
    said = [facts.body]
    for link in facts.links:
        meant = sorted({_meaning(file, scripts, apart, known) for file in link.files})
        said.append(f"{link.names} {meant}")
    # Where imports stand at the top of a file is a matter of names: they are sorted by them.
    said[1 : 1 + facts.n_top] = sorted(said[1 : 1 + facts.n_top])
    known[path] = sha256("\n".join(said).encode()).hexdigest()
    return known[path]


class _Link(NamedTuple):
    names: str  # what is imported, and as what
    files: list[Path]  # library files that run for it, those of packages that hold no code left out


class _Facts(NamedTuple):
    body: str  # hash of the syntax tree without comments, docstrings and the places of library modules
    links: list[_Link]  # imports of the library, those at the top of the file first
    n_top: int  # how many those are


def _facts(path: Path, scripts: Path) -> _Facts:
    return _facts_of_version(path, scripts, path.stat().st_mtime_ns)


@cache
def _facts_of_version(path: Path, scripts: Path, mtime_ns: int) -> _Facts:
    # Each file is read once for all rules: every start of Snakemake waits for this, also a job's on a cluster.
    tree = ast.parse(path.read_text())
    top: list[_Link] = []
    inner: list[_Link] = []
    outermost = set(map(id, tree.body))
    for node in _statements(tree):
        if isinstance(node, ast.ImportFrom | ast.Import):
            for names, files in _named(node, path, scripts):
                (top if id(node) in outermost else inner).append(_Link(names, files))
            if isinstance(node, ast.ImportFrom) and _is_library(node):
                node.module, node.level = PACKAGE, 0
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            # Every bare string, not only the first: attribute docstrings are comments too.
            node.body = [s for s in node.body if not _is_string(s)] or [ast.Pass()]
    tree.body = [s for s in tree.body if not (isinstance(s, ast.ImportFrom | ast.Import) and _is_library(s))]
    return _Facts(sha256(ast.dump(tree).encode()).hexdigest(), top + inner, len(top))


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """The module and its statements, and what holds further ones, level by level. `ast.walk` would also go through all
    expressions, which are most of a tree and hold no statement."""
    waiting: deque[ast.AST] = deque([tree])
    while waiting:
        node = waiting.popleft()
        for name in node._fields:
            if isinstance(inside := getattr(node, name, None), list):
                waiting.extend(n for n in inside if isinstance(n, ast.stmt | ast.excepthandler | ast.match_case))
        yield node


def _is_library(node: ast.ImportFrom | ast.Import) -> bool:
    """Whether an import is of this library, and of nothing else."""
    if isinstance(node, ast.Import):
        return all(alias.name.split(".")[0] == PACKAGE for alias in node.names)
    return bool(node.level) or (node.module or "").split(".")[0] == PACKAGE


def _named(node: ast.ImportFrom | ast.Import, path: Path, scripts: Path) -> list[tuple[str, list[Path]]]:
    """For each name that an import of the library gives: the name as it is known, and the files that it may mean."""
    found = []
    if isinstance(node, ast.Import):
        for alias in node.names:
            if (words := alias.name.split("."))[0] == PACKAGE:
                known = alias.asname or alias.name
                found.append((known, _run([scripts.joinpath(*words).with_suffix(".py")], scripts)))
    elif _is_library(node):
        words = node.module.split(".") if node.module else []
        target = (path.parents[node.level - 1] if node.level else scripts).joinpath(*words)
        for alias in node.names:
            # A module, or something inside one: its name there matters then.
            submodule = target / f"{alias.name}.py"
            files = [submodule] if submodule.is_file() else [target.with_suffix(".py"), target / "__init__.py"]
            name = "" if submodule.is_file() else alias.name
            found.append((f"{name} as {alias.asname or alias.name}", _run(files, scripts)))
    return found


def _run(files: list[Path], scripts: Path) -> list[Path]:
    """Those that exist, with the files of packages that run before them; none that holds a docstring alone."""
    files = [file for file in files if file.is_file()]
    packages = {parent for file in files for parent in file.parents if scripts in parent.parents}
    inits = {file for package in packages if (file := package / "__init__.py").is_file()}
    return sorted(set(files) | {file for file in inits if not _is_empty(file, file.stat().st_mtime_ns)})


@cache
def _is_empty(init: Path, mtime_ns: int) -> bool:
    return all(_is_string(statement) for statement in ast.parse(init.read_text()).body)


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
