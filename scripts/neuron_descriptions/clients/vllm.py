"""The vLLM engine in this process; it has an environment of its own (envs/vllm.yaml, envs/vllm-cpu.yaml)."""

import os
from itertools import groupby
from typing import Any

from neuron_descriptions.clients.base import Answer, Done, Request
from neuron_descriptions.clients.token_ids import TokenIds
from neuron_descriptions.config.explainers import VllmExplainer, answering
from neuron_descriptions.models.loading import check_folder


class VllmClient:
    """Answers with an engine that batches by itself, over groups too: texts can differ from another run's where
    floats decide. It keeps keys and values of what prompts share, so that those of several requests with one prompt
    are computed once, up to a part of a block; each has a seed of its own, which its `n` would not give it."""

    begins, keeps = True, False

    def __init__(
        self,
        folder: str,
        tokenizer: Any,
        explainer: VllmExplainer,
        temperature: float,
        max_tokens: int,
        stop: tuple[str, ...],
    ):
        """Raises ValueError where vLLM is not installed."""
        check_folder(folder)
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # the engine in this process: nothing imports the job anew
        os.environ["VLLM_NO_USAGE_STATS"] = os.environ["HF_HUB_OFFLINE"] = "1"
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
        if explainer.build == "cpu":
            os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")  # GiB
        try:
            from vllm import EngineArgs, LLMEngine
        except ImportError as error:
            raise ValueError(
                f"descriptions.explainer.client: vllm cannot be imported here ({error}); run Snakemake with --sdm"
                " conda, or start a vLLM server and use the client openai"
            ) from None
        self.ids = TokenIds(tokenizer)
        self.settings = {
            **answering(explainer),
            "temperature": temperature,
            "max_tokens": max_tokens,
            "stop": list(stop),
        }
        self.engine = LLMEngine.from_engine_args(
            EngineArgs(
                model=folder,
                trust_remote_code=False,
                dtype=explainer.dtype,
                max_model_len=explainer.max_model_len,
                tensor_parallel_size=explainer.devices,
                enforce_eager=explainer.eager,
                gpu_memory_utilization=explainer.memory,
                enable_prefix_caching=True,
                # A prompt read in parts turns its generator back, which one on a processor cannot do.
                enable_chunked_prefill=explainer.build != "cpu",
                disable_log_stats=True,
                seed=0,
            )
        )

    def payloads(self, requests: list[Request]) -> list[dict[str, Any]]:
        """Prompt, seed and settings."""
        return [{"settings": self.settings, "prompt": r.prompt.sha256(), "seed": r.seed} for r in requests]

    def answer(self, requests: list[Request], done: Done) -> None:
        """Answer the requests, all at once."""
        from vllm import SamplingParams, TokensPrompt

        for number, request in enumerate(requests):
            shared, rest = self.ids.prompt(request.prompt)
            ids = shared + rest
            room = self.settings["max_model_len"] - len(ids)
            if room < self.settings["max_tokens"]:
                raise ValueError(
                    f"descriptions.explainer.max_model_len: a prompt of {len(ids)} tokens leaves no room"
                    f" for {self.settings['max_tokens']} of answer; raise it, or show fewer exemplars"
                    " (descriptions.evidence_max)"
                )
            sampling = SamplingParams(
                temperature=self.settings["temperature"],
                max_tokens=self.settings["max_tokens"],
                stop=self.settings["stop"],
                seed=request.seed & (2**63 - 1),
                skip_special_tokens=False,
            )
            self.engine.add_request(str(number), TokensPrompt(prompt_token_ids=ids), sampling)
        while self.engine.has_unfinished_requests():
            finished = [output for output in self.engine.step() if output.finished]
            by_group = sorted(finished, key=lambda output: requests[int(output.request_id)].group)
            for _, outputs in groupby(by_group, key=lambda output: requests[int(output.request_id)].group):
                found = {int(output.request_id): output for output in outputs}
                done({number: self._read(output, requests[number]) for number, output in found.items()})

    def _read(self, output: Any, request: Request) -> Answer:
        completion = output.outputs[0]
        ended, ids = completion.finish_reason == "stop", list(completion.token_ids)
        if ended and not isinstance(completion.stop_reason, str):  # its last token is the end, no part of the text
            ids.pop()
        prompt_tokens = request.share(len(output.prompt_token_ids))
        return self.ids.answer(prompt_tokens, ids, tuple(self.settings["stop"]), ended)
