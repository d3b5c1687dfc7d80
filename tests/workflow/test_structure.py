"""The rules keep the house's order: every one is logged, timed, pinned and digested."""

import ast
import re
import subprocess
import sys

import pytest
import yaml

from conftest import ROOT

RULES = {
    match[1]: match[2]
    for file in sorted((ROOT / "rules").glob("*.smk"))
    for match in re.finditer(r"^rule (\w+):\n((?:    .*\n|\n)+)", file.read_text(), re.MULTILINE)
}
ORDER = ["input", "output", "log", "benchmark", "priority"]
ORDER += ["conda", "threads", "resources", "params", "message", "script"]
LOCK = dict(line.strip().split("==") for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_complete_and_in_order(rule):
    directives = re.findall(r"^    (\w+):", RULES[rule], re.MULTILINE)
    assert directives == [d for d in ORDER if d in directives]
    assert set(ORDER) - set(directives) <= {"input", "priority"}
    adapter = re.search(r'script:\s+"../scripts/(\w+\.py)"', RULES[rule])[1]
    assert f'digest("{adapter}"' in RULES[rule] or 'HARVEST["code"]' in RULES[rule]
    for resource in ("mem_mb", "runtime"):
        assert resource in RULES[rule]


def test_rules_pass_only_parts_of_the_config():
    for rule, body in RULES.items():
        if rule != "write_provenance":
            assert not re.search(r"\bconfig\b(?!\")|CFG\.model_dump\(\)", body.replace("../", "")), rule


def test_rules_that_read_a_users_yaml_file_depend_on_what_it_holds():
    functions = "concept_rules|explainer_prompts?|simulator_prompt|executable_of_part|choice_inputs"
    reads = re.compile(
        rf"project_file\(|NULL_DESCRIPTIONS|PROBE_RULES|JUDGE_PROMPTS|\b(?:{functions}|rules_of_choice)\("
    )
    for rule, body in RULES.items():
        assert not reads.search(body.partition("params:")[0]) or "held(" in body.partition("params:")[2], rule


def test_every_adapter_has_a_rule():
    used = {re.search(r'"../scripts/(\w+\.py)"', body)[1] for body in RULES.values()}
    assert used == {path.name for path in (ROOT / "scripts").glob("*.py")}


def test_adapters_pass_named_inputs_only():
    for path in (ROOT / "scripts").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
                assert not isinstance(node.slice.value, int) or ast.unparse(node.value) == "snakemake.log"


@pytest.mark.parametrize("path", sorted((ROOT / "envs").glob("*.yaml")), ids=lambda p: p.name)
def test_envs_are_pinned_and_agree_with_the_lock(path):
    env = yaml.safe_load(path.read_text())
    assert set(env) == {"channels", "dependencies"}
    assert env["channels"] == ["conda-forge"]
    pins = next(d for d in env["dependencies"] if isinstance(d, dict))["pip"]
    assert pins == sorted(pins)
    for pin in pins:
        name, version = pin.split("==")
        # vLLM pins its own torch: it cannot be in the lock.
        assert LOCK.get(name, None if name.startswith("vllm") else "missing") in (version, None)


@pytest.mark.parametrize(("file", "most"), [("Snakefile", 80), ("rules/common.smk", 150)])
def test_what_all_rules_share_is_a_table_of_contents(file, most):
    assert len((ROOT / file).read_text().splitlines()) <= most


def test_the_rule_graph_in_the_docs_is_the_workflow_s():
    done = subprocess.run([sys.executable, ROOT / "tests/rule_graph.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_secret_path_or_host_is_committed():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in tracked:
        if not name.endswith((".png", ".lock", ".safetensors", ".npz", ".pt")):
            text = (ROOT / name).read_text()
            assert not re.search(r"hf_[A-Za-z0-9]{20,}|/(?:root|home)/\w", text), name
