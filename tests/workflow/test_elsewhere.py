"""The workflow run from elsewhere: as a module of another one, and from a hosted repository."""

import os
import subprocess

import yaml

from conftest import CODE, Project, changed, snakemake, tiny_config

# The quickest job: it shows that an adapter finds the library.
TARGET = "results/tiny/plan.txt"


def importing(folder, source: str, name: str = "as neurons_*"):
    """A workflow that imports this one, as snakedeploy writes it."""
    (folder / "workflow").mkdir(parents=True)
    (folder / "workflow/Snakefile").write_text(
        'configfile: "mine.yaml"\n\n\n'
        f"module neurons:\n    snakefile: {source}\n    config: config\n\n\nuse rule * from neurons {name}\n"
    )
    return folder


def test_a_module_of_another_workflow_finds_its_files_and_its_library(tmp_path):
    project = Project(tmp_path / "checkout")
    (project.folder / "mine.csv").write_text("layer,neuron\n1,5\n")
    folder = importing(tmp_path / "other", f'"file://{project.folder}/Snakefile"')
    (folder / "given.csv").write_text("layer,neuron,sign,description\n1,5,+,numbers\n")
    # One file is beside the importing workflow, the others beside this one.
    config = changed(tiny_config(), neurons={"file": "mine.csv"}, scores__descriptions="given.csv")
    (folder / "mine.yaml").write_text(yaml.safe_dump(config))
    snakemake(folder, TARGET, "--cores", "1")
    assert "describe" in (folder / TARGET).read_text()
    # A single neuron's page: its input functions look for what is made already.
    page = "results/tiny/neurons/layer-1/neuron-7.html"
    assert "neurons_write_neuron_page" in snakemake(folder, page, "--dry-run", "--quiet", "rules").stdout


def test_a_hosted_repository_is_unpacked_whole(tmp_path):
    hub = tmp_path / "hub/someone"
    source = Project(tmp_path / "checkout").folder
    git = ["git", "-C", str(source), "-c", "user.name=a", "-c", "user.email=a@localhost", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", *CODE], ["commit", "-qm", "all"], ["tag", "v1"]):
        subprocess.run([*git, *command], check=True)
    subprocess.run(["git", "clone", "-q", "--bare", source, hub / "neurons"], check=True)
    folder = importing(tmp_path / "other", 'github("someone/neurons", path="Snakefile", tag="v1")', "")
    (folder / "mine.yaml").write_text(yaml.safe_dump(tiny_config()))
    environment = os.environ | {
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{(tmp_path / 'hub').as_uri()}/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/",
    }
    snakemake(folder, TARGET, "--cores", "1", env=environment, as_user=True)
    assert "describe" in (folder / TARGET).read_text()


def test_more_gpus_than_a_site_gives_a_job_are_refused_from_any_folder(tmp_path, monkeypatch):
    checkout = Project(tmp_path / "checkout").folder
    site = yaml.safe_load((checkout / "profiles/slurm/site.yaml").read_text())
    site["partitions"]["gpu"]["max_gpu"] = 2
    (checkout / "profiles/slurm/site.yaml").write_text(yaml.safe_dump(site))
    monkeypatch.delenv("SNAKEMAKE_SLURM_PARTITIONS", raising=False)
    explainer = {"client": "vllm", "model": tiny_config()["subject"]["model"], "devices": 3}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(changed(tiny_config(), descriptions__explainer=explainer)))
    words = ["-s", checkout / "Snakefile", "--profile", checkout / "profiles/slurm", "--configfile", "mine.yaml", "-n"]
    done = snakemake(tmp_path, *map(str, words), check=False)
    said = done.stdout + done.stderr
    assert "descriptions.explainer.devices: 3 GPUs for a job" in said, said
    assert "more than 2 (max_gpu in site.yaml)" in said
