"""What the demo takes, from its own logs, tables and benchmarks: operations of its models, processor time, idle cores.

Operations are 2 for each parameter that a token passes (Kaplan et al. 2020, "Scaling Laws for Neural Language Models",
section 2.1), of embeddings none; of the head for generated tokens alone. What an explainer's prompts share is counted
for each of them, so what is said of describing is the most that it can be.
"""

import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from common import ROOT

GAP = 30.0  # seconds: a longer one between jobs is between two calls of Snakemake, and no part of a run
PROCESSOR = re.compile(r"done in ([\d.]+) s, ([\d.]+) s of processor$", re.MULTILINE)
READ = re.compile(r"  (\d+) tokens read$", re.MULTILINE)
MODEL_JOBS = ("harvest", "harvest_panel", "describe", "score", "score_natural", "simulate_nulls")


def measure(scratch: Path) -> dict[str, float]:
    """The figures of the demo, which is made first where it is not finished: some minutes on two cores."""
    from conftest import demo_config
    from neuron_descriptions.config.sections import load_config
    from neuron_descriptions.config.sources import spec_key

    subprocess.run(["make", "demo"], cwd=ROOT, check=True)
    config = load_config(demo_config())
    models = {name: ROOT / f"resources/models/{name}-{spec_key(spec)}" for name, spec in config.models.items()}
    simulator = models[config.scores.simulator.model]  # an adapter merged: of its base, the layers that it keeps
    return figures(ROOT / "results" / config.run, models[config.subject.model], simulator, os.cpu_count() or 1)


def figures(results: Path, subject: Path, simulator: Path, cores: int) -> dict[str, float]:
    """Of a finished run; subject, simulator: folders of models, of which only the shapes are read. An explainer is the
    subject. Raises ValueError where a log does not say what was read."""
    from neuron_descriptions.concepts.vocabulary import is_debris

    layers, head = parameters(subject)
    scored, _ = parameters(simulator)
    rows = pd.concat(pd.read_parquet(path) for path in sorted(results.glob("descriptions/*/*.parquet")))
    written = float(rows["completion_tokens"].sum())
    described = float(rows["prompt_tokens"].sum()) + written
    harvested = list(harvests(results))
    deepest = max(deepest for _, deepest in harvested)
    harvested += [(tokens, deepest) for tokens in panels(results)]
    simulated = sum(simulations(results))
    operations = {
        "harvest": 2 * sum(tokens * sum(layers[: deepest + 1]) for tokens, deepest in harvested),
        "describe": 2 * (described * sum(layers) + written * head),
        "score": 2 * simulated * sum(scored),
    }
    jobs = [job(path) for path in sorted((results / "benchmarks").rglob("*.tsv"))]
    everything = busy(jobs)
    models = busy(job(p) for rule in MODEL_JOBS for p in of_rule(results / "benchmarks", rule, "tsv"))
    tflop = sum(operations.values()) / 1e12
    return {
        "model_tflop": tflop,
        **{f"{rule}_tflop": value / 1e12 for rule, value in operations.items()},
        "descriptions": float(rows["description"].notna().sum()),
        "descriptions_with_debris": float(sum(map(is_debris, rows["description"].dropna()))),  # 0 is wanted
        "harvest_tokens": float(sum(tokens for tokens, _ in harvested)),
        "describe_tokens": described,
        "score_tokens": float(simulated),
        "cpu_seconds": everything[1],
        "wall_seconds": everything[0],
        "idle_share": max(1 - everything[1] / (cores * everything[0]), 0.0),
        "gigaflops": 1e3 * tflop / models[0],  # by the clock, while models were at work
    }


def parameters(folder: Path) -> tuple[list[int], int]:
    """(of each layer, of the head) of the model in a folder."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    return [sum(p.numel() for p in layer.parameters()) for layer in model.base_model.layers], sum(
        p.numel() for p in model.get_output_embeddings().parameters()
    )


def harvests(results: Path) -> Iterator[tuple[int, int]]:
    """(tokens, deepest layer) of every harvest job."""
    line = re.compile(r"harvest  \w+, sequences \d+ to \d+, layers ([\d, ]+)$", re.MULTILINE)
    for log in sorted((results / "logs/harvest").rglob("*.log")):
        yield int(_last(READ, log)[0]), max(map(int, _last(line, log)[0].split(", ")))


def panels(results: Path) -> Iterator[int]:
    """Tokens of every panel that was harvested, where there is one."""
    for log in sorted((results / "logs/harvest_panel").rglob("*.log")):
        yield int(_last(READ, log)[0])


def of_rule(folder: Path, rule: str, ending: str) -> list[Path]:
    """Files of a rule's jobs, of all its parts or of its only one."""
    return [*sorted((folder / rule).rglob(f"*.{ending}")), *folder.glob(f"{rule}.{ending}")]


def simulations(results: Path) -> Iterator[int]:
    """Tokens that every score job read, the shared ones once."""
    line = re.compile(r"(\d+) tokens simulated, and (\d+) of what they share$", re.MULTILINE)
    for rule in ("score", "score_natural", "simulate_nulls"):
        for log in of_rule(results / "logs", rule, "log"):
            yield sum(map(int, _last(line, log)))


def _last(line: re.Pattern, log: Path) -> tuple[str, ...]:
    found = [match.groups() for match in line.finditer(log.read_text())]
    if not found:
        raise ValueError(f"{log} does not say what was read: it is another version's, or the job has not ended")
    return found[-1]


def job(benchmark: Path) -> tuple[float, float, float]:
    """(start, end, processor seconds) of a job: by its benchmark file, which is written when it ends, and its log. The
    benchmark's own `cpu_time` is what Snakemake last saw, up to half a minute before the end."""
    row = pd.read_csv(benchmark, sep="\t").iloc[0]
    end = benchmark.stat().st_mtime
    run = next(folder for folder in benchmark.parents if folder.name == "benchmarks").parent
    log = run / "logs" / benchmark.relative_to(run / "benchmarks").with_suffix(".log")
    _, cpu = _last(PROCESSOR, log)
    return end - float(row["s"]), end, float(cpu)


def busy(jobs: Iterable[tuple[float, float, float]]) -> tuple[float, float]:
    """(seconds by the clock in which jobs ran or the next one began, their processor seconds)."""
    wall = cpu = 0.0
    until: float | None = None
    for start, end, spent in sorted(jobs):
        if until is None or start - until > GAP:
            until = start
        wall += max(end - until, 0.0)
        until, cpu = max(until, end), cpu + spent
    return wall, cpu
