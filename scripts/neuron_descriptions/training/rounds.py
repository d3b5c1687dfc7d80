"""Rounds of training an explainer: describe, score, train on the best, describe anew, while held-out scores rise."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from neuron_descriptions.atlas.comparison import Interval, mean_over_neurons
from neuron_descriptions.atlas.tables import ATLAS
from neuron_descriptions.common.logs import job_log, logger
from neuron_descriptions.common.storage import read_table, whole
from neuron_descriptions.common.user_files import read_yaml
from neuron_descriptions.config.sections import Config, load_config
from neuron_descriptions.models.adapters import adapter_sha256
from neuron_descriptions.training.fine_tuning import is_held_out

Scores = dict[tuple[int, int, str], float]
NONE = "explainer_training: no held-out neuron (a tenth is) has a score; choose more neurons"


def held_out_scores(folder: str | Path, silent: bool = False) -> Scores:
    """Scores on test text of a run's held-out neurons and signs that have one. silent: there may be none, of a model
    that says nothing before it has learnt to. Raises ValueError where none has."""
    rows = read_table(f"{folder}/atlas/atlas.parquet", ATLAS, [("status", "==", "ok")], ATLAS.names).to_pylist()
    found = {
        (row["layer"], row["neuron"], row["sign"]): row["score_contrast"]
        for row in rows
        if is_held_out(row["layer"], row["neuron"])
    }
    if not found and not silent:
        raise ValueError(NONE)
    return found


def gain(before: Scores, after: Scores, silent: bool = False) -> Interval:
    """Mean of the difference of two runs' scores over what both have, with its 95 % interval. silent: over what either
    has; where one of them says nothing, it scores 0. Raises ValueError where there is nothing to compare."""
    places = sorted(before.keys() | after.keys() if silent else before.keys() & after.keys())
    if not places:
        raise ValueError(NONE)
    return mean_over_neurons([after.get(p, 0.0) - before.get(p, 0.0) for p in places], [p[:2] for p in places])


def overlay(config: Config, number: int) -> dict[str, Any]:
    """What a round's run has other than the configuration: its name, its explainer."""
    assert config.explainer_training is not None
    run, base = config.run, config.explainer_training.base
    changed: dict[str, Any] = {"run": f"{run}-{number}", "evidence": config.evidence or f"{run}-0"}
    if number:
        name, path = f"{base}-round-{number}", f"results/{run}-{number - 1}/explainer"
        adapter = {"source": "adapter", "base": base, "path": path, "sha256": adapter_sha256(path)}
        changed |= {"models": {name: adapter}, "descriptions": {"explainer": {"model": name}}}
    return changed


def train_rounds(file: str, cores: int) -> None:
    """Train an explainer as a configuration says, in the working directory: results/<run>/explainer, with a record of
    the rounds; and none where the first round's scores no better than the one that it began with. Rounds that are
    finished are taken as they are. Raises ValueError on an incomplete configuration, CalledProcessError where a job
    fails."""
    config = load_config(read_yaml(file))
    wanted = config.explainer_training
    if wanted is None:
        raise ValueError(f"{file} has no section explainer_training; see config/README.md")
    rounds: list[dict[str, Any]] = []
    scores: list[Scores] = []
    best = 0
    last = 1 if wanted.readings else wanted.rounds  # what is written stays the same
    for number in range(last + 1):
        folder = Path(f"results/{config.run}-{number}")
        changed = Path(f"results/{config.run}/round-{number}.yaml")
        with whole(changed) as part:
            part.write_text(yaml.safe_dump(overlay(config, number), sort_keys=False))
        _make(f"{folder}/atlas/atlas.parquet", [file, str(changed)], cores)
        silent = wanted.readings is not None
        scores.append(held_out_scores(folder, silent))
        rounds.append({"round": number, "neurons and signs": len(scores[-1])})
        if scores[-1]:
            rounds[-1]["score"] = mean_over_neurons(list(scores[-1].values()), [place[:2] for place in scores[-1]])
        if number:
            rounds[-1]["gain"] = gain(scores[-2], scores[-1], silent)
            if rounds[-1]["gain"][1] <= 0:
                break
            best = number
        if number < last:
            _make(f"{folder}/explainer", [file, str(changed)], cores)
    result = Path(f"results/{config.run}")
    with whole(result / "rounds.json") as part:
        part.write_text(json.dumps(rounds, indent=1) + "\n")
    for row in rounds:
        more = f", gain {_shown(row['gain'])}" if "gain" in row else ""
        logger.info("round %d: held-out score %s%s", row["round"], _shown(row.get("score")), more)
    if best == 0:
        logger.info("the first round's explainer is no better beyond the interval: none is kept")
        shutil.rmtree(result / "explainer", ignore_errors=True)  # of earlier settings
        return
    with whole(result / "explainer") as part:
        shutil.copytree(f"results/{config.run}-{best - 1}/explainer", part)
        with open(part / "README.md", "a") as card:
            card.write("\n" + _table(rounds))
    logger.info("%s; sha256, for the config: %s", result / "explainer", adapter_sha256(result / "explainer"))


def _shown(interval: Interval | None) -> str:
    if interval is None:
        return "none, since nothing was said"
    mean, low, high = interval
    return f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def _table(rounds: list[dict[str, Any]]) -> str:
    lines = ["| round | score of held-out neurons' descriptions, test text | gain |", "| --- | --- | --- |"]
    for row in rounds:
        more = _shown(row["gain"]) if "gain" in row else ""
        lines.append(f"| {row['round']} | {_shown(row.get('score'))} | {more} |")
    return "\n".join([*lines, ""])


def _make(target: str, files: list[str], cores: int) -> None:
    threads = [f"{rule}={cores}" for rule in ("harvest", "describe", "score", "train_explainer")]
    command = [sys.executable, "-m", "snakemake", target, "--configfile", *files, "--cores", str(cores)]
    subprocess.run([*command, "--set-threads", *threads, "--quiet", "rules", "host"], check=True)


if __name__ == "__main__":
    run = read_yaml(sys.argv[1])["run"]
    with job_log(f"results/{run}/logs/rounds.log", "train_explainer"):
        train_rounds(sys.argv[1], os.cpu_count() or 1)
