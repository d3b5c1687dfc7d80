"""What the sections share: the demo's model and texts, fetched by the workflow, and processor time."""

import time
from pathlib import Path

from conftest import ROOT, demo_config, snakemake

SPLITS = ("train", "valid", "test")


class Clock:
    """Adds up processor seconds, of all threads, spent inside `with clock:`."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> "Clock":
        self._start = time.process_time()
        return self

    def __exit__(self, *error: object) -> None:
        self.seconds += time.process_time() - self._start


def fetched() -> tuple[str, dict[str, str]]:
    """(folder of the demo's model, source -> table of its documents)."""
    from neuron_descriptions.config.sections import load_config
    from neuron_descriptions.config.sources import spec_key

    config = load_config(demo_config())
    name, model = next(iter(config.models.items()))
    folder = f"resources/models/{name}-{spec_key(model)}"
    documents = {
        source: f"resources/documents/{source}-{spec_key(spec, 'ratio')}-seed-{config.seed}.parquet"
        for source, spec in config.corpus.sources.items()
    }
    paths = [folder, *documents.values()]
    snakemake(ROOT, "--configfile", "config/demo.yaml", "--nolock", "--quiet", "all", "--", *paths)
    return str(ROOT / folder), {source: str(ROOT / path) for source, path in documents.items()}


def build(scratch: Path, seq_len: int, train: int, test: int = 64) -> tuple[str, dict[str, str]]:
    """(folder of the model, split -> corpus table) of the demo's texts, cut to `seq_len`; train, test: sequences."""
    from neuron_descriptions.config.sections import load_config
    from neuron_descriptions.corpus.building import Cut, Mixture, build_corpus

    folder, documents = fetched()
    config = load_config(demo_config())
    outputs = {split: str(scratch / f"{split}.parquet") for split in SPLITS}
    ratios = {name: spec.ratio for name, spec in config.corpus.sources.items()}
    mixture = Mixture(documents, ratios, folder, Cut(seq_len), seed=0)
    build_corpus(mixture, {"train": train, "valid": 64, "test": test}, outputs)
    return folder, outputs
