"""How many candidates, and who chooses among them: the best of 8 from two draws of evidence beside the best of 50 from
fifty, and a race that a smaller simulator starts. All arms choose on the same neurons and text with the workflow's own
code, and what one has simulated is not simulated again for another.

`make bench SECTIONS=choosing`: some 3 processor hours, so it runs only where it is named; NEURONS=2 for a rehearsal (of
each layer), MINUTES=60 to stop after so long. What is finished is kept in results/bench/choosing, and goes on there.
"""

import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

import choosing_figures
from common import SPLITS, Clock, fetched
from conftest import ROOT, demo_config, snakemake
from neuron_descriptions.clients.transformers import TransformersClient
from neuron_descriptions.common.storage import Row, read_table, whole, write_table
from neuron_descriptions.common.streams import key
from neuron_descriptions.common.vocabulary import SIGNS
from neuron_descriptions.config.descriptions import Descriptions, FewShot
from neuron_descriptions.config.explainers import TransformersExplainer
from neuron_descriptions.config.scores import Scores, Screen, Simulator
from neuron_descriptions.config.sections import load_config
from neuron_descriptions.config.sources import spec_key
from neuron_descriptions.corpus.building import Cut, Mixture, build_corpus
from neuron_descriptions.descriptions.asking import Tally, ask
from neuron_descriptions.descriptions.candidates import descriptions_table
from neuron_descriptions.descriptions.evidence import EvidenceFiles, Prompting, prepare
from neuron_descriptions.descriptions.prompts import read_explainer_template
from neuron_descriptions.descriptions.tables import DESCRIPTIONS
from neuron_descriptions.harvest.merging import merge
from neuron_descriptions.harvest.shard import Shard, harvest
from neuron_descriptions.harvest.subject import Subject
from neuron_descriptions.models.loading import load_model, load_tokenizer
from neuron_descriptions.run.memory import Keep
from neuron_descriptions.scores.chance import Nulls
from neuron_descriptions.scores.evidence import Evidence
from neuron_descriptions.scores.formulas import FIRST
from neuron_descriptions.scores.predictions import Predictions
from neuron_descriptions.scores.screening import Screener
from neuron_descriptions.scores.simulation import Scorer
from neuron_descriptions.simulators.simulating import FinetunedSimulator

SEED, LAYERS, WIDTH = 0, (5, 15), 1536
NEURONS = 52  # of each layer, the first ones: the simulator was trained on indices from 1025 on
# Short texts, so that as many rows as possible fit into the time.
SEQ_LEN, SIZES = 36, {"train": 1024, "valid": 384, "test": 384}
KEPT = Keep(20, 4, 8)
# Candidates are chosen on so many valid sequences, half top and half random: first on few, of all neurons; then, if
# there is time, on twice as many, of which a race can leave some out. Test has more: only what is chosen reads it.
VALID, TEST = (4, 8), {"top": 8, "middle": 4, "random": 4}
SUBJECT, LARGE, SMALL = "smollm2-135m-instruct", "smollm2-135m-simulator", "smollm2-135m-student"
BATCH, PROMPT = 8192, "config/prompts/words.yaml"
# Short prompts, short answers and one attempt: the explainer takes as long as both simulators together.
ASKED = {"explainer": TransformersExplainer(model=SUBJECT), "prompt": PROMPT, "evidence_min": 3, "evidence_max": 3}
ASKED |= {"min_highlights": 10, "temperature": 0.7, "max_tokens": 16, "attempts": 1}
DESIGNS = {
    "50": Descriptions(draws=50, samples=1, **ASKED),
    "8": Descriptions(draws=2, samples=4, **ASKED),
}
# Thought of later: no part of what the folder is named by, so that what stood in it stayed valid.
LATER_DESIGNS = {"16": Descriptions(draws=4, samples=4, **ASKED)}
KEEPS, LATER_KEEPS = (4, 8, 12, 16, 24), (6, 7)  # descriptions that the large simulator chooses from


@dataclass(frozen=True)
class Arm:
    """A way to choose. One that races needs more than FIRST sequences."""

    design: str
    """Whose candidates."""
    first: int | None = None
    """So many of them alone."""
    keep: int | None = None
    """Screened to so many."""
    race_from: int | None = None


ARMS = {
    "of_50": Arm("50"),
    "of_8": Arm("8"),
    "of_8_draws": Arm("50", first=8),
    "raced": Arm("50", race_from=32),
    **{f"screened_{keep}": Arm("50", keep=keep) for keep in KEEPS},
    **{f"screened_{keep}_raced": Arm("50", keep=keep, race_from=2) for keep in KEEPS},
}
LATER_ARMS = {
    "of_16": Arm("16"),
    "of_5_draws": Arm("50", first=5),
    **{f"screened_{keep}": Arm("50", keep=keep) for keep in LATER_KEEPS},
}
LAST_ARMS = {"of_16_screened_4": Arm("16", keep=4)}
SETS = (ARMS, LATER_ARMS, LAST_ARMS)  # each has rows of its own


def arms(n_valid: int, those: dict[str, Arm] = ARMS) -> dict[str, Arm]:
    """Those that choose on so many sequences."""
    return {name: arm for name, arm in those.items() if arm.race_from is None or n_valid > FIRST}


def made_from(n_valid: int, those: dict[str, Arm]) -> int:
    """Stands for what a set of arms chooses from, beyond what the folder is named by."""
    later = [LATER_DESIGNS[arm.design] for arm in those.values() if arm.design in LATER_DESIGNS]
    return key(arms(n_valid, those), TEST, *later)


class Uneven(Evidence):
    """More sequences of test than of valid."""

    n_valid = VALID[0]

    def scored(self, split: str, *where: Any, **counts: int) -> list[Any]:
        """See Evidence."""
        valid = {"top": self.n_valid // 2, "middle": 0, "random": self.n_valid // 2}
        return super().scored(split, *where, **(valid if split == "valid" else TEST))


class Read(Predictions):
    """Predictions of one simulator, each made once; counts the tokens of valid text that an arm would have it read:
    each description once, as a processor keeps it, and its sequences."""

    def __init__(self, path: Path, simulator: FinetunedSimulator):
        super().__init__(str(path), path.stem)
        self.simulator, self.lengths = simulator, {}
        self.start_arm()

    def start_arm(self) -> None:
        """Count anew."""
        self.own, self.prefixes = 0, {}

    @property
    def tokens(self) -> int:
        """Of this arm."""
        return self.own + sum(self.prefixes.values())

    def simulate(self, simulator: Any, tasks: list[Any], where: Any) -> list[Any]:
        """See Predictions."""
        if "test" not in where:
            for task in tasks:
                what = task.description, tuple(task.text.input_ids)
                if what not in self.lengths:
                    row = self.simulator.row(task)
                    self.lengths[what] = hash(row.prefix), len(row.prefix), len(row.ids)
                prefix, size, own = self.lengths[what]
                self.prefixes[prefix] = size
                self.own += own
        return super().simulate(simulator, tasks, where)


def folders() -> dict[str, str]:
    """Model -> its folder, fetched or merged by the workflow."""
    models = load_config(demo_config()).models
    found = {name: f"resources/models/{name}-{spec_key(models[name])}" for name in (SUBJECT, LARGE, SMALL)}
    if missing := [path for path in found.values() if not (ROOT / path).exists()]:
        snakemake(ROOT, "--configfile", "config/demo.yaml", "--nolock", "--quiet", "all", "--", *missing)
    return {name: str(ROOT / folder) for name, folder in found.items()}


def made_by(models: dict[str, str]) -> str:
    """Stands for all that decides what is described and predicted."""
    names = [Path(folder).name for folder in models.values()]  # with digests of their weights
    return f"{key(SEED, LAYERS, NEURONS, SEQ_LEN, SIZES, KEPT, DESIGNS, *names):016x}"


def harvested(folder: Path, subject: str) -> None:
    """Corpus, exemplars and statistics of all neurons in a folder, made once."""
    if (folder / "harvested").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    neurons, corpus = list(range(NEURONS)), {split: str(folder / f"{split}.parquet") for split in SPLITS}
    if not all(Path(path).exists() for path in corpus.values()):
        ratios = {name: spec.ratio for name, spec in load_config(demo_config()).corpus.sources.items()}
        build_corpus(Mixture(fetched()[1], ratios, subject, Cut(SEQ_LEN), SEED), SIZES, corpus)
    wanted, states = dict.fromkeys(LAYERS, neurons), {split: str(folder / f"state-{split}") for split in SPLITS}
    for split, state in states.items():
        shard, read = Shard(split, 0, 1, 64, SEED), Subject(subject, 30, WIDTH, None, "bfloat16")
        harvest(read, corpus[split], shard, wanted, KEPT, torch.get_num_threads(), state)
    files = {split: [state] for split, state in states.items()}
    for layer in LAYERS:
        paths = (str(folder / f"{name}-{layer}.parquet") for name in ("exemplars", "statistics"))
        merge(files, corpus, layer, neurons, slice(0, len(neurons)), SEED, *paths)
    (folder / "harvested").touch()


class Layer:
    """Describes a layer's neurons and has every arm choose."""

    def __init__(self, layer: int, folder: Path, models: dict[str, str], neurons: list[int], threads: int):
        self.layer, self.folder = layer, folder
        corpus = {split: str(folder / f"{split}.parquet") for split in SPLITS}
        exemplars, statistics = ([str(folder / f"{name}-{layer}.parquet")] for name in ("exemplars", "statistics"))
        self.files = EvidenceFiles(corpus["train"], exemplars, statistics)
        self.evidence = Uneven(exemplars, statistics, corpus, neurons)
        template = read_explainer_template(str(ROOT / PROMPT), FewShot(), True)
        tokenizer = load_tokenizer(models[SUBJECT])
        self.prompting, settings = Prompting(tokenizer, template), DESIGNS["50"]
        model = load_model(models[SUBJECT], "bfloat16", head=True, threads=threads)
        self.client = TransformersClient(model, tokenizer, settings.temperature, settings.max_tokens, template.stop)
        self.read = {}
        for name in (LARGE, SMALL):
            loaded = load_model(models[name], "bfloat16", head=True, threads=threads)
            simulator = FinetunedSimulator(loaded, load_tokenizer(models[name]), BATCH)
            self.read[name] = Read(folder / f"{name}-{layer}.predictions", simulator)
        self.nulls = Nulls(None, str(ROOT / "config/null-descriptions.yaml"), 0, SEED)
        self.clocks = {name: Clock() for name in (*DESIGNS, *LATER_DESIGNS, LARGE, SMALL, "arms")}

    def described(self, neuron: int, design: str) -> list[Row]:
        """Rows of DESCRIPTIONS of both signs, by the workflow's own asking."""
        settings, name = (DESIGNS | LATER_DESIGNS)[design], design
        if design in LATER_DESIGNS:
            name += f"-{key(settings):016x}"
        path = self.folder / f"descriptions/layer-{self.layer}/{neuron}-{name}.parquet"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with self.clocks[design]:
                found = prepare([neuron], self.layer, self.files, self.prompting, settings, SEED)
                ask(
                    found, lambda requests, done: self.client.answer(requests, lambda answers: done(answers, True)),
                    self.prompting.usual.answer, SEED, settings.attempts, Tally(),
                )  # fmt: skip
            write_table(descriptions_table(found, SUBJECT), path)
        return read_table(path, DESCRIPTIONS).to_pylist()

    def chosen(self, neuron: int, sign: str, arm: Arm, candidates: list[Row]) -> tuple[dict[str, Any], list[Row]]:
        """What an arm chooses, and its rows of SCORES. A side without a choice has no description."""
        for read in self.read.values():
            read.start_arm()
        screen = Screen(simulator=Simulator(kind="finetuned", model=SMALL), keep=arm.keep) if arm.keep else None
        settings = Scores(simulator=None, race_from=arm.race_from, screen=screen, nulls=0, bootstrap=1)
        small, large, screened = self.read[SMALL], self.read[LARGE], []
        if screen:
            with self.clocks[SMALL]:
                screener = Screener(small.simulator, SMALL, self.evidence, settings, small)
                screened = screener.screen(self.layer, neuron, sign, candidates)
        scorer = Scorer(large.simulator, LARGE, self.evidence, self.nulls, settings, SIZES, SEED, large)
        scores, _ = scorer.score(self.layer, neuron, sign, candidates, screened)
        best = {row["split"]: row for row in scores if row["chosen"]}
        found = {split: best[split]["correlation"] for split in best}
        said = best["valid"]["description"] if best else None
        return {"description": said, "large": large.tokens, "small": small.tokens} | found, scores

    def row(self, neuron: int, sign: str, those: dict[str, Arm]) -> dict[str, Any]:
        """What the arms of a set choose for a neuron and sign, and what was asked for it."""
        designs = dict.fromkeys(arm.design for arm in those.values())
        asked = {name: [r for r in self.described(neuron, name) if r["sign"] == sign] for name in designs}
        found: dict[str, Any] = {"layer": self.layer, "neuron": neuron, "sign": sign, "arms": {}}
        found["said"] = {name: [r["description"] for r in rows] for name, rows in asked.items()}
        found["explained"] = {
            n: [r["prompt_tokens"] + r["completion_tokens"] for r in rows] for n, rows in asked.items()
        }
        for name, arm in arms(self.evidence.n_valid, those).items():
            with self.clocks["arms" if name != "of_50" else LARGE]:
                choice, scores = self.chosen(neuron, sign, arm, asked[arm.design][: arm.first])
            found["arms"][name] = choice
            if name == "of_50":
                valid = {r["candidate"]: r["correlation"] for r in scores if r["split"] == "valid"}
                found["valid"] = [valid.get(number) for number in range(len(asked["50"]))]
        return found

    def paths(self, neuron: int, n_valid: int) -> list[Path]:
        """Files of both signs' rows, one for each set of arms."""
        return [self.folder / f"rows-{n_valid}-{made_from(n_valid, those):016x}/layer-{self.layer}/{neuron}.json"
                for those in SETS]  # fmt: skip

    def rows(self, neuron: int, n_valid: int) -> list[dict[str, Any]]:
        """Both signs with all arms, each set made once."""
        self.evidence.n_valid = n_valid
        merged: list[dict[str, Any]] = [{} for _ in SIGNS]
        for those, path in zip(SETS, self.paths(neuron, n_valid)):
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                found = [self.row(neuron, sign, those) for sign in SIGNS]
                with whole(path) as part:
                    Path(part).write_text(json.dumps(found))
            for row, read in zip(merged, json.loads(path.read_text())):
                row |= {n: row.get(n, {}) | value if isinstance(value, dict) else value for n, value in read.items()}
        return merged


def run_layer(
    layer: int, folder: Path, models: dict[str, str], neurons: list[int], threads: int, until: float
) -> dict[int, list[dict[str, Any]]]:
    """Valid sequences -> rows of a layer's neurons, as many as are finished until then (seconds since 1970)."""
    made, found = Layer(layer, folder, models, neurons, threads), {}
    for n_valid in VALID:
        found[n_valid], start, before = [], time.time(), time.process_time()
        for done, neuron in enumerate(neurons, 1):
            if time.time() > until and not all(path.exists() for path in made.paths(neuron, n_valid)):
                continue
            found[n_valid] += made.rows(neuron, n_valid)
            seconds, cpu = (time.time() - start) / done, (time.process_time() - before) / done
            parts = ", ".join(f"{name} {clock.seconds:.0f}" for name, clock in made.clocks.items())
            print(
                f"  {time.strftime('%H:%M:%S')}  layer {layer}, {n_valid} sequences: {done} of {len(neurons)} neurons,"
                f" {seconds:.1f} s each, cpu {cpu:.1f} (in all {parts}), {(len(neurons) - done) * seconds / 60:.0f} min"
                " left",
                flush=True,
            )
    return found


def measure(scratch: Path) -> dict[str, Any]:
    """Figures of all rows that are finished; those of more valid sequences begin with their number."""
    neurons = list(range(min(NEURONS, int(os.environ.get("NEURONS", NEURONS)))))
    minutes = float(os.environ.get("MINUTES", "inf"))
    models = folders()
    folder = ROOT / "results/bench/choosing" / made_by(models)
    harvested(folder, models[SUBJECT])
    side_by_side = min(len(LAYERS), torch.get_num_threads())
    threads, until = torch.get_num_threads() // side_by_side, time.time() + 60 * minutes
    with ProcessPoolExecutor(side_by_side, get_context("spawn")) as pool:
        layers = [pool.submit(run_layer, layer, folder, models, neurons, threads, until) for layer in LAYERS]
        made = [future.result() for future in layers]
    figures: dict[str, Any] = {}
    keeps = sorted((*KEEPS, *LATER_KEEPS))
    for n_valid in VALID:
        rows = [row for layer in made for row in layer[n_valid]]
        prefix = "" if n_valid == VALID[0] else f"of_{n_valid}_sequences_"
        found = choosing_figures.figures(rows, keeps) if rows else {"rows": 0}
        figures |= {prefix + name: value for name, value in found.items()}
        if rows:
            lines = choosing_figures.table(figures, keeps, prefix)
            (folder / f"of-{n_valid}-sequences.md").write_text("\n".join([*lines, ""]))
    return figures
