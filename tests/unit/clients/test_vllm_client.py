"""Without vLLM; with it: tests/vllm."""

import pytest

from neuron_descriptions.clients.vllm import VllmClient
from neuron_descriptions.config.explainers import VllmExplainer


def test_missing_vllm_is_said_with_the_remedy(smollm2, tokenizer, monkeypatch):
    for name in ("VLLM_ENABLE_V1_MULTIPROCESSING", "VLLM_NO_USAGE_STATS", "VLLM_LOGGING_LEVEL"):
        monkeypatch.setenv(name, "")  # put back what the client sets
    engine = VllmExplainer(client="vllm", model="m", max_model_len=512, eager=True)
    with pytest.raises(ValueError, match=r"vllm cannot be imported here .* --sdm conda, or start a vLLM server"):
        VllmClient(smollm2, tokenizer, engine, 1.0, 16, ())
