"""What the profiles say, as Snakemake reads them, for a machine or a site."""

import re
import sys

import pytest
import yaml
import yte

from conftest import ROOT


def profile(name: str) -> dict:
    with open(ROOT / f"profiles/{name}/config.yaml") as file:
        return yte.process_yaml(file, require_use_yte=True)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Returns the SLURM profile of a site with some settings of its own."""
    monkeypatch.chdir(ROOT)

    def settings(**changes: object) -> dict:
        file = tmp_path / "site.yaml"
        file.write_text(yaml.safe_dump(yaml.safe_load((ROOT / "profiles/slurm/site.yaml").read_text()) | changes))
        monkeypatch.setenv("SNAKEMAKE_SLURM_PARTITIONS", str(file))
        return profile("slurm")

    return settings


@pytest.mark.parametrize(("gpu", "bound"), [(True, "gpu=1"), (False, "gpu=1000")])
def test_one_machine_runs_one_gpu_job_at_a_time(gpu, bound, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    if gpu:
        (tmp_path / "nvidia-smi").touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", ["snakemake", "--configfile", "config/demo.yaml"])
    assert profile("default")["resources"] == [bound, "endpoint=1"]
    monkeypatch.setattr(sys, "argv", ["snakemake", "--profile", "profiles/slurm"])
    assert set(profile("default")) == {"rerun-triggers"}


def test_the_slurm_profile_asks_for_the_site_s_gpus_by_rule_and_never_by_default(site):
    settings = site(gpu_model="h100")
    text = "\n".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    blocks = re.findall(r"^(?:rule|use rule \w+ as) (\w+)(?: with)?:\n(.*?)(?=^\S|\Z)", text, re.M | re.S)
    rules = {name for name, block in blocks if re.search(r"^ +gpu=(?!0,)", block, re.M)}
    used = dict(re.findall(r"^use rule (\w+) as (\w+) with", text, re.M))
    own = {name for name, block in blocks if "gpu=" in block}
    rules |= {used[rule] for rule in rules & set(used)} - own  # it has what the one has that it is made from
    assert {"harvest_panel", "score_given", "score_natural"} < rules
    assert settings["set-resources"] == {rule: {"gpu_model": "'h100'"} for rule in rules}
    assert "default-resources" not in settings
    assert "set-resources" not in site(gpu_model=None)


def test_account_and_qos_are_passed_where_the_site_has_them(site):
    settings = site(account=12345, qos="long")
    assert settings["default-resources"] == {"slurm_account": "'12345'"} and settings["slurm-qos"] == "long"


def test_no_job_asks_for_more_than_every_partition_has(site):
    gpu = {"max_runtime": 90, "max_mem_mb": 8000, "max_gpu": 2}
    partitions = {"cpu": {"max_runtime": 60, "max_mem_mb": 9000}, "gpu": gpu}
    bounds = ["mem_mb=8000", "runtime=60", "gpu=2", "gpu_job=1", "endpoint=1"]
    assert site(partitions=partitions)["resources"] == bounds
    assert site()["set-resource-scopes"] == ["gpu=local", "gpu_job=local", "mem_mb=local", "runtime=local"]


def test_chunks_are_grouped_only_on_request(site):
    assert "groups" not in site() and "group-components" not in site()
    settings = site(chunks_per_job=5)
    assert settings["groups"] == ["describe=describe", "score=score", "score_natural=score_natural"]
    assert settings["group-components"] == ["describe=5", "score=5", "score_natural=5"]


def test_the_plugin_s_traps_are_avoided(site):
    """docs of each: comments in the profile."""
    settings = site()
    assert settings["retries"] == 2 and settings["slurm-status-attempts"] >= 60
    assert settings["max-status-checks-per-second"] <= 0.5
    assert not {"slurm-array-jobs", "slurm-requeue"} & set(settings)
    assert site(accounting=False)["slurm-status-command"] == "squeue" and "slurm-status-command" not in settings
    for rule in (ROOT / "rules").glob("*.smk"):
        assert "retries:" not in rule.read_text()


def test_a_target_after_configfile_is_told_where_to_stand(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["snakemake", "--configfile", "a.yaml", "b.yaml", "results/tiny/plan.txt", "-n"])
    with pytest.raises(SystemExit, match=r"snakemake results/tiny/plan\.txt --configfile a\.yaml b\.yaml$"):
        profile("default")
    monkeypatch.setattr(sys, "argv", ["snakemake", "results/tiny/plan.txt", "--configfile", "a.yaml", "b.yaml"])
    profile("default")


def test_a_site_can_say_gres_and_a_constraint(site):
    for changes, resources in (
        ({"gres": "gpu:a100:2"}, {"gpu": 0, "gres": "'gpu:a100:2'"}),
        ({"constraint": "rtx-6000"}, {"constraint": "'rtx-6000'"}),
    ):
        assert site(gpu_model=None, **changes)["set-resources"]["harvest"] == resources


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gpu_model": "rtx-6000"}, "gpu_model: .*not rtx-6000; set gpu_model: null, and choose .* a constraint"),
        ({"gres": "gpu:rtx-6000:1", "gpu_model": None}, "gres: .*not gpu:rtx-6000:1"),
        ({"gres": "gpu:1"}, "exclude each other"),
    ],
)
def test_what_the_plugin_would_refuse_job_by_job_is_refused_at_once(changes, message, site):
    with pytest.raises(SystemExit, match=message):
        site(**changes)


def test_the_site_s_file_stands_beside_the_profile_wherever_snakemake_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SNAKEMAKE_SLURM_PARTITIONS", raising=False)
    monkeypatch.setattr(sys, "argv", ["snakemake", "--profile", str(ROOT / "profiles/slurm"), "-n"])
    assert profile("slurm")["slurm-partition-config"] == str(ROOT / "profiles/slurm/site.yaml")
    monkeypatch.setattr(sys, "argv", ["snakemake"])
    with pytest.raises(SystemExit, match="SNAKEMAKE_SLURM_PARTITIONS"):
        profile("slurm")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("jobs: [1", "site.yaml cannot be read: "),
        ("- jobs", "site.yaml: not a list of keys with values"),
        ("jobs: 5\npartitions: {}", "site.yaml: account, accounting, chunks_per_job, qos, retries: missing"),
    ],
)
def test_a_site_that_cannot_be_read_is_named(tmp_path, monkeypatch, text, said):
    (tmp_path / "site.yaml").write_text(text)
    monkeypatch.setenv("SNAKEMAKE_SLURM_PARTITIONS", str(tmp_path / "site.yaml"))
    with pytest.raises(SystemExit, match=said):
        profile("slurm")


def test_a_partition_without_limits_is_named(site):
    with pytest.raises(SystemExit, match="partitions: cpu: max_runtime, max_mem_mb must be whole numbers"):
        site(partitions={"cpu": {"max_runtime": "1d", "max_mem_mb": 9000}})
