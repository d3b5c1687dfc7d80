"""Section `corpus`: the text that the subject reads."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from neuron_descriptions.config.base import Name, PositiveInt, Section, Sha256
from neuron_descriptions.config.sources import Hub, Local, Wheel


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
    """Glob of the files inside the wheel: .txt, .md, .py, .json, .jsonl, .csv (each perhaps .gz or .zst) or
    .parquet."""
    sha256: Sha256
    """Checksum of the wheel."""


class LocalText(Text, Local):
    """Text files on disk; `path` may be a glob of .txt, .md, .py, .json, .jsonl, .csv (each perhaps .gz or .zst) or
    .parquet files. A row that cannot be used is left out, counted and named in the log."""


TextSource = Annotated[HubText | WheelText | LocalText, Field(discriminator="source")]


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


def origins(corpus: Corpus | None) -> str:
    """Where the texts come from, in words: for cards of what is trained on them."""
    sources = corpus.sources if corpus else {}
    return ", ".join(
        f"{name} ({getattr(source, 'package', None) or getattr(source, 'repo', None) or 'local files'})"
        for name, source in sources.items()
    )


class Panel(Section):
    """Text that all kept neurons share: their activations are kept at every token of it. There are two panels, of
    documents that no split of the corpus touches: types of neurons are fitted on `panel` and judged on `panel_test`."""

    tokens: PositiveInt = 20_000
    """Tokens of each panel, prefixes not counted. A neuron takes two times this times the bytes of `subject.dtype`."""
    seq_len: Annotated[int, Field(ge=8, le=32_767)] | None = None
    """Tokens per sequence, as in `corpus`; null: as many as there."""
    neighbours: Annotated[int, Field(ge=0, le=1000)] = 0
    """Features like each one that are found and shown on its page: those of all layers whose activations on `panel` go
    with its own most; 0: none. All pairs of kept features are compared, so that its cost grows with their square."""
