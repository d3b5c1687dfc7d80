"""A run published to S3, and fetched back.

Below <prefix>/<run>/ stand `objects/<sha256>/<file name>`, never overwritten, and `index.json`, which says which of
them are the run. It is written last: a reader sees the run before or the run after, never half of one.
"""

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from neuron_descriptions.common.logs import logger, progress
from neuron_descriptions.common.provenance import file_digest
from neuron_descriptions.common.storage import whole
from neuron_descriptions.common.stores import Bucket, Facts, Missing, read_json
from neuron_descriptions.config.sources import S3

T = TypeVar("T")
INDEX = "index.json"
FORMAT = 1
TRANSFERS = 8  # at once
BLOCK = 16 << 20


def object_key(digest: str, path: str) -> str:
    """Where a file's content stands below the run."""
    return f"objects/{digest}/{PurePosixPath(path).name}"


def publish(place: S3, run: str, atlas: str, exemplars: list[str], files: list[str], output: str) -> None:
    """Upload a run's files, but for those that are there already, then the index; write the index as `output`.

    place: the run's is below it; atlas: <run's folder>/atlas/atlas.parquet; exemplars: tables, as
    <folder>/exemplars/layer-0/..., of a folder that may be another run's; in the index the names start from these
    folders. The server, if it can, checks what it gets against sha256 sums.
    """
    folders = [Path(atlas).parents[1], *(Path(table).parents[2] for table in exemplars[:1])]
    store = Bucket(place.below(run).model_copy(update={"anonymous": False}))
    paths = {_name(file, folders): file for path in files for file in _files(Path(path))}
    digests = dict(zip(paths, _parallel(file_digest, paths.values())))
    entries: dict[str, dict[str, Any]] = {
        path: {"sha256": digests[path], "size": paths[path].stat().st_size} for path in sorted(paths)
    }
    there = store.sizes("objects/")
    missing = {
        object_key(entry["sha256"], path): (paths[path], entry["size"])
        for path, entry in entries.items()
        if there.get(object_key(entry["sha256"], path)) != entry["size"]
    }
    logger.info("%d files, %d to upload to %s", len(entries), len(missing), store.name(""))
    work = _parallel(lambda item: store.upload(item[1][0], item[0]), missing.items())
    for _ in progress(work, len(missing), "files"):
        pass
    index = json.dumps({"format": FORMAT, "run": run, "files": entries}, indent=1).encode() + b"\n"
    store.put(index, INDEX)
    with whole(output) as part:
        part.write_bytes(index)


def _files(path: Path) -> list[Path]:
    """A file, or those of a folder; what Snakemake marks a folder with is none of the run's."""
    return sorted(p for p in path.rglob("[!.]*") if p.is_file()) if path.is_dir() else [path]


def _name(file: Path, folders: list[Path]) -> str:
    return next(file.relative_to(folder).as_posix() for folder in folders if file.is_relative_to(folder))


def fetch_run(place: S3, run: str, output: str) -> None:
    """Fetch a published run into the folder `output`, every file checked against the index.

    Raises ValueError where there is no such run, or a file is not what the index says.
    """
    store = Bucket(place.below(run))
    try:
        index = read_json(store, INDEX)
    except Missing as error:
        raise ValueError(f"{error}: no run {run} is published there") from None
    name = store.name(INDEX)
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise ValueError(f"{name} is not the index of a run that this version can read")
    for path in index["files"]:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or "\\" in path:
            raise ValueError(f"{name} names a file outside the run: {path}")
    with whole(output) as part:
        part.mkdir()
        work = _parallel(lambda item: _fetch_file(store, part / item[0], *item), index["files"].items())
        for _ in progress(work, len(index["files"]), "files"):
            pass
    logger.info("%d files of %s", len(index["files"]), store.name(""))


def _fetch_file(store: Bucket, target: Path, path: str, entry: dict[str, Any]) -> None:
    place = object_key(entry["sha256"], path)
    _, facts = store.head(place, 1) if entry["size"] else (b"", Facts(0, ""))
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        if facts.size == entry["size"]:
            buffer = memoryview(bytearray(min(BLOCK, facts.size)))
            for first in range(0, facts.size, BLOCK):
                block = buffer[: min(BLOCK, facts.size - first)]
                store.read_into(place, first, block, facts)
                file.write(block)
    if facts.size != entry["size"] or file_digest(target) != entry["sha256"]:
        raise ValueError(f"{store.name(place)} ({path}) is not what {store.name(INDEX)} says; publish the run anew")


def _parallel(function: Callable[[Any], T], items: Iterable[Any]) -> Iterable[T]:
    with ThreadPoolExecutor(TRANSFERS) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            for future in futures:
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
