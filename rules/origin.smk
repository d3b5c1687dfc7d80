# Where this workflow's own files are. `workflow.basedir` is of no use: as a module, it is the importing workflow's.
import os
import sys
import tarfile
import tempfile
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.sourcecache import HostingProviderFile, LocalGitFile, LocalSourceFile

RULES = workflow.current_basedir
OWN_FOLDERS = ("scripts", "config")


def unpack_beside_cached_rules():
    """A hosted repository's files, where Snakemake keeps its copies of single ones; returns the folder of the
    Snakefile there. Snakemake itself would fetch the adapters, but neither the library nor files that are named in
    strings. Safe where several processes do it at once.
    """
    if isinstance(RULES, HostingProviderFile):
        repository = RULES.hosted_repo.repo
    elif isinstance(RULES, LocalGitFile):
        from git import Repo

        repository = Repo(RULES.repo_path)
    else:
        raise WorkflowError(
            f"{RULES}: this workflow is more than its Snakefile; import it with github(), gitlab() or from a clone"
        )
    kept = Path(workflow.sourcecache.get_path(RULES.join("origin.smk")))
    root = kept.parents[1]
    inside = Path(RULES.path).parent  # of the repository
    done = root / f".unpacked-{repository.commit(RULES.ref).hexsha}"
    if done.exists():
        return root
    with tempfile.TemporaryDirectory(dir=root) as folder:
        with open(Path(folder, "files.tar"), "w+b") as file:
            wanted = [(inside / name).as_posix() for name in OWN_FOLDERS]
            repository.archive(file, treeish=RULES.ref, path=wanted, format="tar")
            file.seek(0)
            with tarfile.open(fileobj=file) as archive:
                archive.extractall(folder, filter="data")
        top = Path(folder, inside)
        for path in [p for name in OWN_FOLDERS for p in Path(top, name).rglob("*")]:
            if path.is_file():
                target = root / path.relative_to(top)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, target)
    done.touch()
    return root


if isinstance(RULES, LocalSourceFile):
    HOME = Path(RULES.get_path_or_uri(secret_free=True)).parent
else:
    HOME = unpack_beside_cached_rules()

sys.path.insert(0, str(HOME / "scripts"))

from neuron_descriptions.common.places import find, found
