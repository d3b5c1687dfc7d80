"""Which files belong together: every neuron in one part, every layer in one block, every row of a state once."""

import pytest

from conftest import changed, demo_config
from neuron_descriptions.config.sections import load_config
from neuron_descriptions.run.files import Layout, part_holding
from neuron_descriptions.run.selection import described_and_kept


def layout(**changes) -> Layout:
    """The demo's, with neurons 3, 5, ... of layers 1, 4, 7, 9 in chunks of 3, changed."""
    neurons = {"layers": [1, 4, 7, 9], "indices": list(range(3, 21, 2)), "chunk_size": 3}
    config = load_config(changed(demo_config(), **({"neurons": neurons} | changes)))
    return Layout(config, *described_and_kept(config))


KEPT = {"layers": [1, 4, 7, 9], "indices": ["0-30"], "chunk_size": 4}


@pytest.mark.parametrize("layers_per_job", [1, 2, 3, 4, 100])
def test_every_layer_is_in_one_block(layers_per_job):
    cut = layout(exemplars__layers_per_job=layers_per_job)
    assert [layer for block in cut.blocks() for layer in block] == [1, 4, 7, 9]
    assert all(len(block) <= layers_per_job for block in cut.blocks())
    for layer in (1, 4, 7, 9):
        assert layer in cut.blocks()[int(cut.block_of(layer, "chunk-0").removeprefix("block-"))]
        assert layer in cut.block_neurons(cut.block_of(layer, "chunk-0"))


@pytest.mark.parametrize(("sequences", "size"), [(40, 40), (40, 39), (40, 7), (1, 100), (40, 1)])
def test_shards_cover_a_split(sequences, size):
    cut = layout(corpus__sequences__valid=max(sequences, 36), exemplars__shard_sequences=size)
    shards, sequences = cut.shards("valid"), cut.config.corpus.sequences.valid
    assert (shards - 1) * size < sequences <= shards * size


@pytest.mark.parametrize("kept", [None, KEPT])
def test_rows_of_chunks_are_the_rows_of_the_state(kept):
    """The rows of a layer's chunks, end to end, are those of the neurons that the harvest of its block keeps."""
    cut = layout(exemplars__neurons=kept)
    for layer in (1, 9):
        kept_neurons = cut.block_neurons(cut.block_of(layer, "chunk-0"))[layer]
        rows = [cut.rows(layer, part) for part in cut.kept.names(layer)]
        assert [row for first, end in rows for row in range(first, end)] == list(range(len(kept_neurons)))
        for part, (first, end) in zip(cut.kept.names(layer), rows):
            assert cut.neurons(cut.kept, layer, part) == kept_neurons[first:end]


def test_a_neuron_alone_has_a_block_and_a_state_of_its_own():
    cut = layout()
    assert cut.neurons(cut.described, 20, "neuron-700") == [700]
    assert cut.block_of(20, "neuron-700") == "layer-20-neuron-700"
    assert cut.block_neurons("layer-20-neuron-700") == {20: [700]}
    assert cut.rows(20, "neuron-700") == [0, 1]


@pytest.mark.parametrize(("layer", "part"), [(30, "neuron-0"), (0, "neuron-1536")])
def test_a_neuron_that_the_subject_has_not_is_refused(layer, part):
    cut = layout()
    with pytest.raises(ValueError, match=rf"layer {layer}, neuron \d+ is out of range; .*0\.\.29 .*0\.\.1535"):
        cut.neurons(cut.described, layer, part)
    with pytest.raises(ValueError, match="layer 1 has no chunk-3"):
        cut.neurons(cut.described, 1, "chunk-3")


def test_evidence_of_a_chunk_is_in_the_chunks_that_keep_its_neurons():
    """Independently: by membership of each neuron."""
    cut = layout(exemplars__neurons=KEPT)
    for part in cut.described.names(4):
        wanted = set(cut.neurons(cut.described, 4, part))
        holding = [p for p in cut.kept.names(4) if wanted & set(cut.neurons(cut.kept, 4, p))]
        assert cut.evidence_parts(4, part, lambda chunk: False) == holding
    assert layout().evidence_parts(4, "chunk-1", lambda chunk: False) == ["chunk-1"]


def test_a_neuron_takes_its_chunk_where_that_is_made():
    cut = layout()
    asked = []

    def made(part: str) -> bool:
        asked.append(part)
        return part == "chunk-1"

    assert part_holding(cut.described, 7, 11, made) == "chunk-1"  # neurons 9, 11, 13
    assert part_holding(cut.described, 7, 15, made) == "neuron-15"  # of chunk-2
    assert part_holding(cut.described, 7, 4, made) == "neuron-4"  # of none
    assert asked == ["chunk-1", "chunk-2", "neuron-4"]
    assert cut.evidence_parts(7, "neuron-13", made) == ["chunk-1"]
