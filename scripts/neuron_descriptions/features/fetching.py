"""Dictionaries from the hub: the files of one layer, as they were published."""

import shutil
from pathlib import Path

from neuron_descriptions.common.logs import logger
from neuron_descriptions.common.storage import whole

# What converting reads. Of .pt files the weights alone are, which runs no code.
SUFFIXES = (".json", ".yaml", ".safetensors", ".npz", ".npy", ".pt")


def fetch_dictionary(repo: str, revision: str, path: str, folder: str) -> None:
    """Fetch a file or folder of a repository into a folder, under its path there.

    A token, where one is needed, comes from HF_TOKEN alone. Raises ValueError where the repository has nothing of that
    path that converting could read, and as the hub's client does where it refuses.
    """
    from huggingface_hub import HfApi, snapshot_download

    place = path.strip("/")
    names = HfApi().list_repo_files(repo, revision=revision)
    wanted = [name for name in names if name == place or place == "." or name.startswith(f"{place}/")]
    readable = [name for name in wanted if name.endswith(SUFFIXES)]
    if not readable:
        near = sorted({name.partition("/")[0] for name in names})[:10]
        raise ValueError(
            f"features.path: {repo} has no dictionary at {place} in revision {revision}"
            f" (it has {', '.join(near) or 'no files'}); correct features.path or features.revision"
        )
    logger.info("downloading %s of %s at %s", place, repo, revision)
    with whole(folder) as part:
        snapshot_download(repo, revision=revision, local_dir=part, allow_patterns=readable)
        shutil.rmtree(part / ".cache", ignore_errors=True)
        if missing := [name for name in readable if not Path(part, name).is_file()]:
            raise ValueError(f"{repo} did not send {missing[0]}; run again")
