"""Files that a configuration names: one way of finding them all."""

import os
from glob import glob
from pathlib import Path


def find(path: str, beside: str | Path = ".") -> str | None:
    """A named file, folder or glob: in the working directory, else beside the Snakefile (`beside`); `~` is the home
    folder. Returns the path as it is named where it stands in the working directory; None where there is none."""
    path = str(Path(path).expanduser()) if path.startswith("~") else path
    for candidate in (path, os.path.relpath(Path(beside, path))):
        if Path(candidate).exists() or glob(candidate, recursive=True):  # noqa: PTH207 (refuses absolute ones)
            return candidate
    return None


def found(path: str, key: str, beside: str | Path = ".") -> str:
    """As `find`. Raises ValueError that names the key and where was looked."""
    if (place := find(path, beside)) is not None:
        return place
    where = dict.fromkeys(str(Path(folder).resolve()) for folder in (".", beside))
    looked = "" if path.startswith(("/", "~")) else f" (looked in {' and in '.join(where)})"
    raise ValueError(f"{key}: {path} does not exist{looked}")


def text_files(pattern: str) -> list[Path]:
    """As `matching_files`. Raises ValueError where one is no file, such as a folder, or a pipe that would never end."""
    files = matching_files(pattern)
    if odd := next((file for file in files if not file.is_file()), None):
        kind = "a folder" if odd.is_dir() else "a pipe, a device or a link to nothing"
        raise ValueError(f"{odd} is no file but {kind}; name files alone, such as by {odd.parent}/*.txt")
    if not files:
        raise ValueError(f"no file matches {pattern}")
    return files


def matching_files(pattern: str) -> list[Path]:
    """The files that a local text source's `path` names: a file, those of a folder, those that match a glob; sorted.
    What systems and editors leave there (.DS_Store, ._a.txt, .a.txt.swp, a.txt~) is none of them, as in a shell."""
    root = Path(pattern)
    if root.is_file():
        return [root]
    inside = str(root.relative_to(root.anchor)) + ("/*" if root.is_dir() else "")
    said = sum(part.startswith(".") for part in Path(inside).parts)
    top = Path(root.anchor or ".")
    return sorted(
        path
        for path in top.glob(inside)
        if sum(part.startswith(".") for part in path.relative_to(top).parts) <= said and not path.name.endswith("~")
    )
