"""Section `plan`: what a run is reckoned to take, and may take at most; and `recheck`."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import model_validator

from neuron_descriptions.config.base import (
    Name,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Section,
    Seed,
)


class Rechecking(Section):
    """What `snakemake recheck` computes again of a finished run. Changes nothing of the run."""

    neurons: PositiveInt = 10
    """Neurons drawn at random; of each both signs, and of each sign one stored sequence per split and kind."""
    seed: Seed = 0
    """Another one draws other neurons."""


class Ceilings(Section):
    """What a start may take at most: above it, nothing starts. What is made already is not counted again."""

    gpu_hours: PositiveFloat | None = None
    """GPU hours; null: no limit."""
    dollars: PositiveFloat | None = None
    """Dollars, for endpoints and for GPU hours at `plan.dollars_per_gpu_hour`; null: no limit."""
    gigabytes: PositiveFloat | None = None
    """Gigabytes (10^9 bytes) on disk, temporary files included; null: no limit."""


# Named devices -> teraflops; see Planning.device.
PRESETS = {"a100": 125.0, "h100": 395.0, "h200": 395.0}


class Planning(Section):
    """What `make plan` reckons with, and what the jobs' memory and runtime follow from. Never changes a result and
    reruns nothing."""

    gpus: PositiveInt = 8
    """GPUs at work at once."""
    teraflops: PositiveFloat = 125.0
    """What a GPU sustains in a forward pass, in 10^12 operations per second; left out, that of `device`, or of an A100:
    40 % of its 312."""
    device: Literal["auto", "gpu", "cpu", "a100", "h100", "h200"] = "auto"
    """What the run is for. `auto`: the processor of this machine, if it has no GPU, no cluster is asked and
    `ceilings.gpu_hours` is not set. `a100`, `h100`, `h200`: a GPU whose `teraflops` are known, 40 % of the dense
    bfloat16 peak in NVIDIA's data sheets: 312 of an A100, 989 of an H100 SXM, and the same of an H200 SXM, whose memory
    is faster. Not measured: `make bench-gpu` says what yours does."""
    core_teraflops: PositiveFloat = 0.1
    """The same of a processor core, where there is no GPU (docs/benchmarks.md: 0.1 in float32, 0.3 with bfloat16
    instructions)."""
    prefix: NonNegativeInt = 30
    """Tokens of the chat template before the text of a sequence, within `corpus.seq_len`: 30 for Llama-3.1, 24 for
    SmolLM2."""
    generated_token_cost: PositiveFloat = 4.0
    """A generated token takes as long as so many tokens of a prompt."""
    parameters: dict[Name, PositiveFloat] = {}
    """Sizes of models by their name under `models`, in 10^9 parameters; a model left out counts as one of the subject's
    layers and neurons."""
    answers_per_second: PositiveFloat = 5.0
    """Answers per second from an endpoint."""
    start_seconds: PositiveFloat = 30.0
    """From a job's start to its first work."""
    load_gigabytes_per_second: PositiveFloat = 1.0
    """Reading weights from disk."""
    download_gigabytes_per_second: PositiveFloat = 0.05
    """Fetching weights and published exemplars, per job."""
    corpus_tokens_per_second: PositiveFloat = 50_000.0
    """Tokens per second that are fetched, cut and tokenized for the corpus."""
    rows_per_second: PositiveFloat = 10_000.0
    """Rows of tables per second, read and written."""
    dollars_per_gpu_hour: NonNegativeFloat = 0.0
    """Dollars of a GPU hour."""
    memory_mb: PositiveInt = 4_000
    """Memory of a job besides its weights and data."""
    margin: PositiveFloat = 3.0
    """Jobs ask for so many times the time that is reckoned for them; after running out of time or memory, for twice
    and three times as much."""
    ceilings: Ceilings = Ceilings()
    """What a start may take at most."""

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, raw: Any) -> Any:
        if isinstance(raw, Mapping) and isinstance(raw.get("device"), str) and raw["device"] in PRESETS:
            return {"teraflops": PRESETS[raw["device"]], **raw}
        return raw
