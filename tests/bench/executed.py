"""Rows whose descriptions execute: lists of concepts of one layer's neurons, found and scored without a simulator, of
any subject and corpus."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common import SPLITS, fetched
from conftest import ROOT, snakemake
from neuron_descriptions.common.signs import one_side
from neuron_descriptions.common.storage import read_table
from neuron_descriptions.common.streams import generator
from neuron_descriptions.concepts.execution import ConceptList, read_list
from neuron_descriptions.concepts.predicates import Reader
from neuron_descriptions.concepts.vocabulary import read_vocabulary
from neuron_descriptions.descriptions.concepts import find_concepts
from neuron_descriptions.harvest.merging import merge
from neuron_descriptions.harvest.passes import Passes
from neuron_descriptions.harvest.shard import Shard, harvest
from neuron_descriptions.harvest.subject import Subject
from neuron_descriptions.panel.harvesting import harvest_panel
from neuron_descriptions.panel.reading import Panel
from neuron_descriptions.panel.tables import PANELS
from neuron_descriptions.run.memory import Keep
from neuron_descriptions.scores.concepts import score_concepts
from neuron_descriptions.scores.tables import CONCEPT_SCORES

LAYERS, WIDTH, LAYER, BATCH, NEURONS, SEED = 30, 1536, 15, 64, 200, 0
KEEP, NUMBERS = Keep(20, 10, 10), {"top": 5, "middle": 2, "random": 2}  # the demo's
RULES = str(ROOT / "config/concepts/lists.yaml")


@dataclass
class Rows:
    """Both signs of NEURONS neurons drawn at random in LAYER, of one subject on one corpus."""

    model: str
    """Folder of the subject."""
    corpus: dict[str, str]
    """Tables of the splits and of both panels."""
    folder: Path
    """Where what is made is kept: made once."""

    @property
    def neurons(self) -> list[int]:
        """Which they are: the same of each subject."""
        return sorted(generator(SEED, "neurons").permutation(WIDTH)[:NEURONS].tolist())

    def path(self, name: str) -> str:
        """A file of what was made: exemplars, statistics, found, scores, or a panel's name."""
        return str(self.folder / f"neurons-{name}") + ("" if name in PANELS else ".parquet")

    def made(self) -> "Rows":
        """These rows, harvested, described and scored; what is there is not made again."""
        self.folder.mkdir(exist_ok=True)
        if not Path(self.path("exemplars")).exists():
            self._harvest()
        inputs: dict[str, Any] = {split: self.corpus[split] for split in SPLITS} | {
            "concepts": self.path("found"), "exemplars": [self.path("exemplars")],
            "statistics": [self.path("statistics")], "subject": self.model, "rules": RULES,
            "panel_test": self.corpus["panel_test"], "panel_test_acts": self.path("panel_test"),
        }  # fmt: skip
        if not Path(self.path("found")).exists():
            of_split: dict[str, str | list[str]] = {split: self.corpus[split] for split in ("train", "valid")}
            panel = {"corpus": self.corpus["panel"], "acts": self.path("panel")}
            models = {"subject": self.model, "rules": RULES}
            find_concepts(self.neurons, LAYER, of_split, [self.path("exemplars")], models, panel, self.path("found"))
        if not Path(self.path("scores")).exists():
            score_concepts(self.neurons, LAYER, inputs, NUMBERS, self.path("scores"))
        return self

    def _harvest(self) -> None:
        subject, wanted = Subject(self.model, LAYERS, WIDTH, None, "bfloat16"), {LAYER: self.neurons}
        states, threads = {split: str(self.folder / f"state-{split}") for split in SPLITS}, torch.get_num_threads()
        for panel in PANELS:
            harvest_panel(
                subject, self.corpus[panel], wanted, SEED, Passes(BATCH, 1, threads), {LAYER: self.path(panel)}
            )
        for split, state in states.items():
            harvest(subject, self.corpus[split], Shard(split, 0, 1, BATCH, SEED), wanted, KEEP, threads, state)
        splits, files = {split: self.corpus[split] for split in SPLITS}, {s: [f] for s, f in states.items()}
        rows = slice(0, NEURONS)
        merge(files, splits, LAYER, wanted[LAYER], rows, SEED, self.path("exemplars"), self.path("statistics"))

    def scores(self) -> list[dict[str, Any]]:
        """Rows of CONCEPT_SCORES of the lists that are chosen first: one of each neuron and sign."""
        table = read_table(self.path("scores"), CONCEPT_SCORES)
        return [row for row in table.to_pylist() if row["candidate"] == 0]

    def panel(self, name: str) -> Panel:
        """One of its panels."""
        return Panel(self.corpus[name], [self.path(name)], self.model)

    def true(self, panel: Panel, row: dict[str, Any]) -> np.ndarray:
        """One side's activations at each token of a panel."""
        return one_side(panel.acts(LAYER, [row["neuron"]])[0].astype(float), row["sign"])


def vocabulary() -> Reader:
    """What knows the predicates of lists."""
    return Reader(read_vocabulary(RULES))


def said(row: dict[str, Any]) -> ConceptList | None:
    """The list of a row; None where no concept fits."""
    found = read_list(row["parts"])
    return found if found.parts else None


def demo_rows(scratch: Path) -> Rows:
    """The rows of the demo's subject on its own corpus."""
    names = [f"results/demo/corpus/{name}.parquet" for name in (*SPLITS, *PANELS)]
    snakemake(ROOT, "--configfile", "config/demo.yaml", "--nolock", "--quiet", "all", "--", *names)
    return Rows(fetched()[0], {Path(name).stem: str(ROOT / name) for name in names}, scratch / "trained").made()
