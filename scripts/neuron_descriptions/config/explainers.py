"""Section `descriptions.explainer`: a section for each client."""

import json
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BeforeValidator, Field, field_validator, model_validator

from neuron_descriptions.config.base import (
    Address,
    Dtype,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Section,
    VariableName,
    without_secrets,
)


class ExplainerSection(Section):
    """What the rules ask of a client's section."""

    remote: ClassVar[bool] = False  # an endpoint: its job takes no GPU, and runs where the workflow does

    def environment(self) -> str:
        """Name of the job's environment in envs/."""
        return "models"

    def local_model(self) -> str | None:
        """Name under `models` of the model whose weights or tokenizer the job needs."""
        return getattr(self, "model", None)


class TransformersExplainer(ExplainerSection):
    """A transformers model in the job itself, on the GPU where there is one."""

    client: Literal["transformers"] = "transformers"
    """`transformers`: the default; runs anywhere."""
    model: str
    """Its name under `models`."""
    dtype: Dtype = "bfloat16"
    """Precision."""
    batch_tokens: PositiveInt = 65_536
    """Prompt tokens per batch at most, which bounds memory. Part of the numerics: another size may round
    differently."""


class VllmExplainer(ExplainerSection):
    """A vLLM engine in the job itself. It needs an environment of its own: run Snakemake with --sdm conda."""

    client: Literal["vllm"]
    """`vllm`: the fastest on GPUs."""
    model: str
    """Its name under `models`."""
    dtype: Dtype = "bfloat16"
    """Precision."""
    build: Literal["cuda", "cpu"] = "cuda"
    """Environment: envs/vllm.yaml or envs/vllm-cpu.yaml."""
    max_model_len: PositiveInt = 8192
    """Longest prompt and answer together, in tokens."""
    devices: PositiveInt = 1
    """GPUs that share the model (tensor parallelism)."""
    eager: bool = False
    """Do not compile the model: starts faster, generates slower. Best on for the CPU build."""
    memory: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Share of the GPU's memory that the engine takes. Never changes a result."""

    def environment(self) -> str:
        """That of its build."""
        return "vllm-cpu" if self.build == "cpu" else "vllm"


class Limits(Section):
    """How an endpoint is asked. None of these reruns anything that is made."""

    concurrency: PositiveInt = 32
    """Requests on their way at once."""
    requests_per_minute: PositiveInt | None = None
    """At most; null: no limit."""
    tokens_per_minute: PositiveInt | None = None
    """At most, about: prompt (a token for 4 bytes) and longest answer; null: no limit."""
    timeout: PositiveFloat = 120.0
    """Seconds for one request."""
    tries: PositiveInt = 8
    """For one request, with growing pauses, or those that the endpoint asks for; then the job fails."""
    budget: NonNegativeFloat | None = None
    """Dollars that all of the run's requests may cost, at `prices`: the job stops before it would be passed. Counted
    at most: a request that was on its way when a job was killed counts as paid."""


class Prices(Section):
    """Dollars for a million tokens."""

    prompt: NonNegativeFloat
    """For a million prompt tokens."""
    completion: NonNegativeFloat
    """For a million completion tokens."""


class Endpoint(ExplainerSection):
    """A model behind a network interface."""

    remote: ClassVar[bool] = True

    model: str
    """Its name at the endpoint."""
    body: dict[str, Any] = {}
    """Further fields of a request, as the endpoint documents them; null leaves out one that is sent by default, such
    as `{max_tokens: null, max_completion_tokens: 400}`. Nothing secret: it is kept with the results."""
    limits: Limits = Limits()
    """How it is asked."""
    prices: Prices | None = None
    """What it costs; null: it costs nothing, or nobody counts."""

    @field_validator("body")
    @classmethod
    def _body(cls, body: dict[str, Any]) -> dict[str, Any]:
        if taken := {"model", "messages", "prompt", "system", "n", "stream"} & set(body):
            raise ValueError(f"{', '.join(sorted(taken))}: set by the client; leave it out")
        try:
            json.dumps(body, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            raise ValueError("it holds what JSON cannot say, such as a date, .nan or .inf") from None
        without_secrets(body)
        return body

    def environment(self) -> str:
        """That of all endpoints."""
        return "endpoints"

    def local_model(self) -> str | None:
        """Its tokenizer's, where prompts go as token ids."""
        return getattr(self, "tokenizer", None)

    @model_validator(mode="after")
    def _priced(self) -> "Endpoint":
        if self.limits.budget is not None and self.prices is None:
            raise ValueError("limits.budget needs prices: say what a token costs")
        return self


class OpenaiExplainer(Endpoint):
    """Any endpoint that speaks OpenAI's interface: OpenAI, OpenRouter, a vLLM server."""

    client: Literal["openai"]
    """`openai`: any OpenAI-compatible endpoint."""
    base_url: Address = "https://api.openai.com/v1"
    """Its address."""
    key_variable: VariableName | None = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key; null: no key is needed."""
    tokenizer: str | None = None
    """Name under `models` of the model that the endpoint serves: prompts then go as token ids, with the answer begun
    (a vLLM server; needed for the published fine-tuned explainer). null: as chat messages."""
    several: bool = True
    """Ask for all `descriptions.samples` of a draw in one request (`n`), whose prompt is paid once. false: a request
    for each, where the endpoint gives one answer to a request."""


class AnthropicExplainer(Endpoint):
    """Anthropic's endpoint."""

    client: Literal["anthropic"]
    """`anthropic`: Anthropic's endpoint."""
    base_url: Address = "https://api.anthropic.com"
    """Its address."""
    key_variable: VariableName = "ANTHROPIC_API_KEY"
    """Name of the environment variable that holds the key."""


def _default_client(raw: Any) -> Any:
    return {"client": "transformers", **raw} if isinstance(raw, dict) else raw


# Of an explainer's section: what no description depends on.
ACCESS_KEYS = frozenset({"key_variable", "limits", "prices", "memory"})


Explainer = Annotated[
    Annotated[
        TransformersExplainer | VllmExplainer | OpenaiExplainer | AnthropicExplainer, Field(discriminator="client")
    ],
    BeforeValidator(_default_client),
]


def answering(section: ExplainerSection) -> dict[str, Any]:
    """The keys of an explainer's section that answers depend on, with their values."""
    return section.model_dump(exclude=set(ACCESS_KEYS))


def clients() -> dict[str, type[ExplainerSection]]:
    """Every client: the value of its key `client` -> its section."""
    sections = get_args(get_args(Explainer)[0])
    return {get_args(section.model_fields["client"].annotation)[0]: section for section in sections}
