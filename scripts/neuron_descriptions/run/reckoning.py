"""What a run's stages are reckoned with: its sizes, and what models and tables take."""

from neuron_descriptions.common.vocabulary import LEAST_SHARED, SIGNS, SPLITS
from neuron_descriptions.config.exemplars import ImportedExemplars
from neuron_descriptions.config.models import AdapterModel
from neuron_descriptions.config.sections import Config
from neuron_descriptions.run.selection import Chunks

WIDTH = {"float32": 4, "bfloat16": 2, "float16": 2}
# Tokens of a description, and of what stands around it in a prompt (instructions, headers).
DESCRIPTION, PROMPT = 30, 150
# The prompted simulator writes each token of a sequence as: token, tab, `unknown`, newline.
PROMPTED_TOKENS = 4
# What zstd leaves of stored activations (docs/benchmarks.md: 1.42 of 2 bytes).
COMPRESSED = 0.71
# Sequences that the probe of the simulator takes (scores/probing.py).
PROBED = 72
# Share of the full search that a race of candidates takes (docs/benchmarks.md).
RACE = 1 / 3
# What adapters are of a model.
LORA = 0.02
# Bytes on disk: a description's row and its score's; a table without rows; a sequence's row of the corpus without its
# tokens; of a sequence that a neuron's page shows, and of each of its tokens, packed; a row of the page's table; the
# page without its data, and the plot.
ROW, TABLE, CORPUS_ROW, SHOWN_ROW, SHOWN_TOKEN, BROWSED_ROW = 200, 3_000, 20, 20, 2.2, 80
PAGE, PLOT = 110_000, 80_000
# Rows that the page has at first, and bytes of one of them.
FIRST_ROWS, FIRST_ROW = 100, 700
# Beside a kept prediction's numbers of 4 bytes.
KEPT_ROW = 25
# Bytes of a document from the hub, compressed (690 tokens of FineWeb's sample); of all texts of a package.
DOCUMENT, PACKAGE = 1_500, 4e6
# What a report holds of the pages' details, over their packed bytes (they stand there as JSON), and at most.
REPORTED, REPORT = 2.5, 1.4e6
# Panels: one that types are fitted on, one that judges them. Of look-ups: seconds for a neuron and token, features at a
# time, arrays of them in memory (docs/benchmarks.md).
PANELS, LOOKUP_SECONDS, LOOKUP_BLOCK, LOOKUP_ARRAYS = 2, 1e-7, 2048, 8
# Features like one another: processor seconds for a pair and token; arrays of a layer's activations in memory, of 8
# bytes a number; a neighbour's row.
NEIGHBOUR_SECONDS, NEIGHBOUR_ARRAYS, NEIGHBOUR_ROW = 9e-11, 3, 10
# Two panels side by side: seconds for a feature and token, features at a time, arrays of float64 in memory, a row.
COMPARED_SECONDS, COMPARED_BLOCK, COMPARED_ARRAYS, COMPARED_ROW = 5e-8, 1024, 8, 60
# Concepts: seconds for a token that the vocabulary reads, and for the search of a neuron and sign; what a token of the
# panel adds to that where lists are fitted on text as it comes; bytes that a feature takes for it, of two signs.
VOCABULARY_SECONDS, SEARCH_SECONDS, NATURAL_SECONDS, PANEL_MEMORY = 2e-4, 0.024, 3.2e-6, 16
# Of an output side: the search for words, and the places where a neuron and sign fires.
NAMED_SECONDS = 0.05
# Sequences that scaling a neuron takes at most: two signs, 40 each, without and with it.
SCALED = 160
# What a token takes that is shown in a prompt: itself, in quotation marks, with a comma.
TOKEN_SHOWN = 4
# Tokens of a large vocabulary, whose directions an output side is read off.
UNEMBEDDED = 128_000
# Search by meaning: bytes of the wheel and of what is kept of it, pieces of its vocabulary, descriptions a second, and
# what stands on disk over the vectors' bytes.
WHEEL, VECTORS, PIECES, EMBEDDED_RATE, WRITTEN = 19e6, 18e6, 32_000, 10_000, 1.05
# Memory of an import over the bytes that it fetches (docs/benchmarks.md: at least 2.2).
WINDOWS_MEMORY = 3


def number_of_chunks(chunks: Chunks) -> int:
    return sum(len(chunks.names(layer)) for layer in chunks.neurons)


def shape_parameters(layers: int, neurons_per_layer: int) -> float:
    """Parameters of a gated transformer of that shape without embeddings: the hidden size is about 0.3 of the
    neurons, so an MLP has 3 x 0.3 n^2 and attention about as much as a third of that."""
    return layers * 1.2 * neurons_per_layer**2


def model_parameters(config: Config, name: str) -> float:
    """Parameters of a model: as `plan.parameters` says, else as the subject's shape gives; of an adapter those of its
    base, or of the layers that it keeps."""
    subject, spec = config.subject, config.models.get(name)
    if isinstance(spec, AdapterModel) and name not in config.plan.parameters:
        return model_parameters(config, spec.base) * min(1.0, (spec.layers or subject.layers) / subject.layers)
    return config.plan.parameters.get(name, 0) * 1e9 or shape_parameters(subject.layers, subject.neurons_per_layer)


class Reckoning:
    """What the stages' figures are made of."""

    def __init__(self, config: Config, described: Chunks, kept: Chunks):
        self.config, self.p = config, config.plan
        text = config.exemplars if isinstance(config.exemplars, ImportedExemplars) else config.corpus
        assert text is not None  # checked with the configuration
        self.seq_len = text.seq_len
        # Without the template's prefix, which nothing is kept of: at least the four tokens that a corpus needs.
        chat = config.corpus.chat_prefix if config.corpus else True
        self.text = max(text.seq_len - (self.p.prefix if chat else 1), 4)
        shared = (self.seq_len - self.text) * LEAST_SHARED >= self.seq_len
        self.harvested = self.text if shared else self.seq_len  # of a sequence, by the subject: the rest once a batch
        self.width = WIDTH[config.subject.dtype]
        self.layers = len(kept.neurons)
        self.neurons = sum(map(len, kept.neurons.values()))
        self.signs = sum(map(len, described.neurons.values())) * len(SIGNS)
        self.chunks = number_of_chunks(described)
        self.kept_chunks = number_of_chunks(kept)
        self.kept = config.exemplars.k + getattr(config.exemplars, "middle", 0) + config.exemplars.random
        self.rows = len(SPLITS) * self.neurons * len(SIGNS) * self.kept
        # Memory of a chunk's exemplars, as Python numbers.
        self.chunk = max(min(c.size, max(map(len, c.neurons.values()))) for c in (described, kept))
        self.chunk_data = self.rows / self.neurons * self.chunk * self.text * 40

    def parameters(self, name: str) -> float:
        return model_parameters(self.config, name)

    def stored(self, name: str) -> float:
        """Parameters of a model's files: where nobody said how many, with embeddings of a large vocabulary, which a
        forward pass hardly reads."""
        said = name in self.config.plan.parameters
        return self.parameters(name) + (0 if said else UNEMBEDDED * 0.3 * self.config.subject.neurons_per_layer)

    def dictionary_bytes(self) -> float:
        """A layer's encoder and decoder in float32; 0 where features are in no file."""
        if getattr(self.config.features, "path", None) is None:
            return 0.0
        width = self.parameters(self.config.subject.model) / self.layers / (3 * self.config.subject.neurons_per_layer)
        return 2 * self.config.features_per_layer * width * 4

    def model_job(self, name: str, tokens: float) -> float:
        """Seconds of a job that loads a model and reads so many tokens."""
        load = self.parameters(name) * 2 / (self.p.load_gigabytes_per_second * 1e9)
        return self.p.start_seconds + load + tokens * 2 * self.parameters(name) / (self.p.teraflops * 1e12)

    def megabytes(self, name: str | None, data: float) -> float:
        """Memory of a job: what Python needs, a model's weights, its data."""
        return self.p.memory_mb + ((self.parameters(name) * 2 if name else 0) + data) / 1e6

    def reading(self, rows: float, rate: float | None = None) -> float:
        """Seconds of a job that reads or writes so many rows of tables, or what else has a rate of its own."""
        return self.p.start_seconds + rows / (rate or self.p.rows_per_second)

    def download(self, size: float) -> float:
        """Seconds that so many bytes take over the network."""
        return size / (self.p.download_gigabytes_per_second * 1e9)

    def kept_for_the_way_back(self, tokens: int) -> float:
        """Bytes that fine-tuning on so many tokens at once keeps: a layer about 30 numbers of 2 bytes per token and
        hidden unit; hidden units: 0.3 of the neurons."""
        return tokens * 60 * 0.3 * self.config.subject.neurons_per_layer * self.config.subject.layers

    def exemplar_bytes(self) -> float:
        """Of the exemplars' tables."""
        return self.rows * self.text * self.width * COMPRESSED + 2 * TABLE * self.kept_chunks
