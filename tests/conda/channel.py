"""A conda channel of two packages: `python`, which leads to this interpreter, and `pip`, repacked from its wheel.

python channel.py FOLDER PIP_WHEEL    (with py-rattler, which makes the index)
"""

import asyncio
import hashlib
import io
import json
import sys
import tarfile
import zipfile
from pathlib import Path

from rattler.index import index_fs

MINOR = f"{sys.version_info[0]}.{sys.version_info[1]}"
VERSION = ".".join(map(str, sys.version_info[:3]))


def pack(folder: Path, index: dict, files: dict[str, bytes], links: dict[str, str], extra: dict[str, dict]) -> None:
    """Write a package. files: path -> content; links: path -> target; extra: further files of info/."""
    listed = [
        {"_path": path, "path_type": kind, "sha256": hashlib.sha256(data).hexdigest(), "size_in_bytes": len(data)}
        for kind, contents in (("hardlink", files), ("softlink", dict.fromkeys(links, b"")))
        for path, data in contents.items()
    ]
    info = {"index.json": index, "paths.json": {"paths": listed, "paths_version": 1}, "about.json": {}} | extra
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / f"{index['name']}-{index['version']}-{index['build']}.tar.bz2", "w:bz2") as archive:
        members = {f"info/{name}": json.dumps(content).encode() for name, content in info.items()}
        members["info/files"] = "".join(f"{entry['_path']}\n" for entry in listed).encode()
        for path, data in (members | files).items():
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(data), 0o644
            archive.addfile(member, io.BytesIO(data))
        for path, target in links.items():
            member = tarfile.TarInfo(path)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)


def python(channel: Path) -> None:
    """A virtual environment's files stand for a whole Python: a link and a pyvenv.cfg."""
    exe = Path(sys.executable).resolve()
    index = {"name": "python", "version": VERSION, "build": "0_stand_in", "build_number": 0, "depends": [],
             "subdir": "linux-64", "arch": "x86_64", "platform": "linux",
             "python_site_packages_path": f"lib/python{MINOR}/site-packages"}  # fmt: skip
    configuration = f"home = {exe.parent}\ninclude-system-site-packages = false\nversion = {VERSION}\n"
    files = {"pyvenv.cfg": configuration.encode(), f"lib/python{MINOR}/site-packages/README.txt": b"a stand-in\n"}
    links = {f"bin/python{MINOR}": str(exe), "bin/python3": f"python{MINOR}", "bin/python": f"python{MINOR}"}
    pack(channel / "linux-64", index, files, links, {})


def pip(channel: Path, wheel: Path) -> None:
    """The wheel's files as a noarch package."""
    archive = zipfile.ZipFile(wheel)
    files = {f"site-packages/{n}": archive.read(n) for n in archive.namelist() if not n.endswith("/")}
    index = {"name": "pip", "version": wheel.name.split("-")[1], "build": "0_stand_in", "build_number": 0,
             "depends": [f"python {MINOR}.*"], "subdir": "noarch", "noarch": "python"}  # fmt: skip
    pack(
        channel / "noarch",
        index,
        files,
        {},
        {"link.json": {"noarch": {"type": "python"}, "package_metadata_version": 1}},
    )


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    python(folder)
    pip(folder, Path(sys.argv[2]))
    asyncio.run(index_fs(str(folder), force=True, write_zst=False, write_shards=False))
