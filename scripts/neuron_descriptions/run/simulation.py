"""What simulating takes, by the kind of the simulator."""

from typing import Any

from neuron_descriptions.config.explainers import Endpoint
from neuron_descriptions.config.scores import Simulator
from neuron_descriptions.run.reckoning import DESCRIPTION, PROMPT, PROMPTED_TOKENS, Reckoning

# Of a simulator that is asked in words: tokens read and written for each token of a text.
ASKED_TOKENS, WRITTEN_TOKENS = 4, 8


def read_by(r: Reckoning, simulator: Simulator, sequences: int) -> tuple[float, float, float]:
    """Tokens that a simulator reads: for each token of a text; once before the sequences of a description; of one of so
    many sequences, all in. What the sequences of a description share is read once."""
    if simulator.kind == "asked":  # nothing is shared
        return ASKED_TOKENS, 0.0, r.text * ASKED_TOKENS + PROMPT + DESCRIPTION
    per_token = PROMPTED_TOKENS if simulator.kind == "prompted" else 1
    # A fine-tuned simulator reads the prefix too, once for all sequences of a description.
    before = DESCRIPTION + (r.seq_len - r.text) * (simulator.kind == "finetuned")
    return per_token, before, r.text * per_token + before / sequences


def simulating(r: Reckoning, simulator: Simulator, read: float, jobs: int, data: float) -> dict[str, Any]:
    """Of a stage that simulates: time and memory of a job, GPUs, tokens, and dollars of an endpoint. read: tokens of
    all jobs; data: bytes of a job."""
    written = read * WRITTEN_TOKENS / ASKED_TOKENS if simulator.client else 0.0
    found = {"read": read, "generated": written, "memory_mb": r.megabytes(simulator.local_model(), data)}
    if not isinstance(simulator.client, Endpoint):
        tokens = (read + written * r.p.generated_token_cost) / jobs
        return found | {"seconds": r.model_job(simulator.model, tokens), "gpus": 1}
    answers, prices = read / (r.text * ASKED_TOKENS + PROMPT + DESCRIPTION) / jobs, simulator.client.prices
    cost = (read * prices.prompt + written * prices.completion) / 1e6 if prices else 0.0
    seconds = r.p.start_seconds + answers / r.p.answers_per_second
    return found | {"seconds": seconds, "endpoint": cost, "in_turn": True}
