"""Section `plan`: what a run is reckoned to take, and may take at most."""

from neuron_descriptions.config.base import Name, NonNegativeFloat, PositiveFloat, PositiveInt, Section


class Ceilings(Section):
    """What a start may take at most: above it, nothing starts. What is made already is not counted again."""

    gpu_hours: PositiveFloat | None = None
    """GPU hours; null: no limit."""
    dollars: PositiveFloat | None = None
    """Dollars, for endpoints and for GPU hours at `plan.gpu_hour`; null: no limit."""
    gigabytes: PositiveFloat | None = None
    """Gigabytes (10^9 bytes) on disk, temporary files included; null: no limit."""


class Planning(Section):
    """What `make plan` reckons with, and what the jobs' memory and runtime follow from. Never changes a result and
    reruns nothing."""

    gpus: PositiveInt = 8
    """GPUs at work at once."""
    teraflops: PositiveFloat = 125.0
    """What a GPU sustains in a forward pass, in 10^12 operations per second (an A100: 40 % of its 312)."""
    generated_token_cost: PositiveFloat = 4.0
    """A generated token takes as long as so many tokens of a prompt."""
    parameters: dict[Name, PositiveFloat] = {}
    """Sizes of models by their name under `models`, in 10^9 parameters; a model left out counts as one of the subject's
    layers and neurons."""
    answers: PositiveFloat = 5.0
    """Answers per second from an endpoint."""
    start_seconds: PositiveFloat = 30.0
    """From a job's start to its first work."""
    load_gigabytes_per_second: PositiveFloat = 1.0
    """Reading weights from disk."""
    download_gigabytes_per_second: PositiveFloat = 0.05
    """Fetching weights and published exemplars, per job."""
    corpus_tokens: PositiveFloat = 50_000.0
    """Tokens per second that are fetched, cut and tokenized for the corpus."""
    rows: PositiveFloat = 10_000.0
    """Rows of tables per second, read and written."""
    gpu_hour: NonNegativeFloat = 0.0
    """Dollars of a GPU hour."""
    memory_mb: PositiveInt = 4_000
    """Memory of a job besides its weights and data."""
    margin: PositiveFloat = 3.0
    """Jobs ask for so many times the time that is reckoned for them; after running out of time or memory, for twice
    and three times as much."""
    ceilings: Ceilings = Ceilings()
    """What a start may take at most."""
