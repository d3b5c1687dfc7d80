"""Which files belong together: layers in blocks, a split's sequences in shards, neurons in parts.

A part is a chunk of a layer's neurons (`chunk-<i>`), or one neuron that a target names (`neuron-<n>`). Pure: nothing
here knows Snakemake or looks at a disk; what is made already, the caller says.
"""

from collections.abc import Callable
from dataclasses import dataclass

from neuron_descriptions.config.exemplars import HarvestedExemplars
from neuron_descriptions.config.sections import Config
from neuron_descriptions.run.selection import Chunks


def part_holding(chunks: Chunks, layer: int, neuron: int, made: Callable[[str], bool]) -> str:
    """The part whose table is read for one neuron: its chunk, if that one's table is made already, else its own, so
    that a single neuron waits for no run."""
    chunk = chunks.holding(layer, [neuron])[0]
    return chunk if made(chunk) else f"neuron-{neuron}"


@dataclass(slots=True, frozen=True)
class Layout:
    """How the work of a run is cut."""

    config: Config
    described: Chunks
    """Neurons that are described, in the chunks of every stage after the exemplars."""
    kept: Chunks
    """Neurons whose exemplars are kept: the same, or more, in chunks of their own."""

    def blocks(self) -> list[list[int]]:
        """Layers that one forward pass harvests together."""
        assert isinstance(self.config.exemplars, HarvestedExemplars)
        size, layers = self.config.exemplars.layers_per_job, list(self.kept.neurons)
        return [layers[i : i + size] for i in range(0, len(layers), size)]

    def shards(self, split: str) -> int:
        """Jobs that share a split's sequences."""
        exemplars, corpus = self.config.exemplars, self.config.corpus
        assert isinstance(exemplars, HarvestedExemplars) and corpus is not None
        sequences: int = getattr(corpus.sequences, split)
        return -(-sequences // exemplars.shard_sequences)

    def neurons(self, chunks: Chunks, layer: int, part: str) -> list[int]:
        """Neurons of a part of these chunks. Raises ValueError where the layer has no such chunk, or the subject no
        such neuron."""
        kind, _, number = part.partition("-")
        if kind == "chunk":
            return chunks.members(layer, int(number))
        layers, features = self.config.subject.layers, self.config.features_per_layer
        if layer >= layers or int(number) >= features:
            raise ValueError(
                f"layer {layer}, neuron {number} is out of range; the subject has layers"
                f" 0..{layers - 1} of neurons 0..{features - 1}"
            )
        return [int(number)]

    def block_neurons(self, block: str) -> dict[int, list[int]]:
        """Layer -> neurons that the harvest of a block keeps: `block-<i>`, or `layer-<l>-neuron-<n>`."""
        words = block.split("-")
        if words[0] == "block":
            return {layer: self.kept.neurons[layer] for layer in self.blocks()[int(words[1])]}
        return {int(words[1]): [int(words[3])]}

    def block_of(self, layer: int, part: str) -> str:
        """The block whose harvest has a part's neurons."""
        if part.startswith("neuron"):
            return f"layer-{layer}-{part}"
        return f"block-{next(i for i, layers in enumerate(self.blocks()) if layer in layers)}"

    def rows(self, layer: int, part: str) -> list[int]:
        """First and past-the-last row of a part's neurons in the state of their block."""
        if part.startswith("neuron"):
            return [0, 1]
        neurons = self.neurons(self.kept, layer, part)
        first = self.kept.neurons[layer].index(neurons[0])
        return [first, first + len(neurons)]

    def evidence_parts(self, layer: int, part: str, made: Callable[[str], bool]) -> list[str]:
        """Parts whose exemplars a part of the described neurons needs. made: whether a part has a table."""
        if part.startswith("neuron"):
            return [part_holding(self.kept, layer, int(part.split("-")[1]), made)]
        if self.kept is self.described:
            return [part]
        return self.kept.holding(layer, self.neurons(self.described, layer, part))
