# Tables of parts: of a chunk of neurons, or of one neuron that a target names.


def is_made(path):
    """Whether a file of the run is there already."""
    return Path(PATHVARS.apply(path)).exists()


def part_of(wildcards):
    """The part that a job is of, or the one neuron that it is of."""
    return getattr(wildcards, "part", None) or f"neuron-{wildcards.neuron}"


def neurons_of_part(chunks):
    """Function of wildcards: neurons of a chunk, or the one that a target names."""
    return lambda wildcards: LAYOUT.neurons(
        chunks, int(wildcards.layer), part_of(wildcards)
    )


def part_table(path):
    """Input function: a part's table; for a single neuron the one of its chunk, where that is made already."""

    def file(wildcards):
        layer, part = int(wildcards.layer), part_of(wildcards)
        if part.startswith("neuron"):
            made = lambda chunk: is_made(path.format(layer=layer, part=chunk))
            part = part_holding(DESCRIBED, layer, int(part.split("-")[1]), made)
        return path.format(layer=layer, part=part)

    return file


def evidence_tables(path):
    """Input function: the tables of exemplars, or of their sequences, that hold a part's neurons."""

    def files(wildcards):
        layer = int(wildcards.layer)
        made = lambda chunk: is_made(path.format(layer=layer, part=chunk))
        parts = LAYOUT.evidence_parts(layer, part_of(wildcards), made)
        return [path.format(layer=layer, part=part) for part in parts]

    return files


def shards_of_part(split):
    """Input function: the harvest's files that hold a part's layer."""

    def files(wildcards):
        block = LAYOUT.block_of(int(wildcards.layer), wildcards.part)
        return [
            f"<evidence>/activations/{split}/shard-{shard}/{block}.safetensors"
            for shard in range(LAYOUT.shards(split))
        ]

    return files


def all_chunks(path, chunks=DESCRIBED):
    """A table of every chunk of the run."""
    return [
        path.format(layer=layer, part=part)
        for layer in chunks.neurons
        for part in chunks.names(layer)
    ]


# Tables that the rules of several stages read; the rule that makes one names it itself.
EVIDENCE = {
    "exemplars": "<evidence>/exemplars/layer-{layer}/{part}.parquet",
    "statistics": "<evidence>/exemplars/layer-{layer}/statistics-{part}.parquet",
}
TABLES = {
    "descriptions": "<results>/descriptions/layer-{layer}/{part}.parquet",
    "scores": "<results>/scores/layer-{layer}/{part}.parquet",
    "simulations": "<results>/scores/layer-{layer}/simulations-{part}.parquet",
}
# The text: split -> table of the sequences. Where exemplars are imported, each part has those that its own stand in.
IMPORTED = CFG.exemplars.source != "harvest"
if IMPORTED:
    PART_CORPUS = {
        split: f"<evidence>/corpus/layer-{{layer}}/{split}-{{part}}.parquet"
        for split in SPLITS
    }
    CORPUS = {split: evidence_tables(path) for split, path in PART_CORPUS.items()}
    RUN_CORPUS = {split: all_chunks(path, KEPT) for split, path in PART_CORPUS.items()}
else:
    CORPUS = {split: f"<evidence>/corpus/{split}.parquet" for split in SPLITS}
    RUN_CORPUS = CORPUS
