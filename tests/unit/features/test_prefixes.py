"""What all sequences of a batch begin with is read once; no activation differs by more than rounding for it."""

import numpy as np
import pytest
import torch
from test_features import FAMILIES, LAYERS, NEURONS, random_model

from neuron_descriptions.features.neurons import MlpNeurons
from neuron_descriptions.features.planted import PlantedSource
from neuron_descriptions.harvest.batches import make_batch
from neuron_descriptions.harvest.forward import may_share, run_layers
from neuron_descriptions.models.loading import load_model

TEMPLATE = list(range(100, 122))
# Their sliding window is shorter than the sequences: keys and values of the first tokens are gone.
WINDOWED = {name for name, (_, settings, _) in FAMILIES.items() if "sliding_window" in str(settings)}


def sequences(lengths, template=TEMPLATE):
    rng = np.random.default_rng(0)
    return [[*template, *rng.integers(5, 40_000, length).tolist()] for length in lengths]


def batch(ids, share, template=TEMPLATE, first=0):
    prefix = len(template)
    longest = max(map(len, ids)) - prefix
    return make_batch(first, ids, np.full(len(ids), prefix), longest, share)


def activations(model, source, one, layers=(0, 2)):
    """layer -> of the evidence tokens of a batch (N, I), and how many tokens were embedded."""
    found, read = {}, []
    counter = model.get_input_embeddings().register_forward_hook(lambda m, args, out: read.append(args[0].numel()))

    def take(layer, seen_BTD, batch):
        found[layer] = source.features(layer, seen_BTD).flatten(0, 1)[batch.evidence_N]

    taps = dict(enumerate(source.taps(model)))
    run_layers(model, {layer: taps[layer] for layer in layers}, [one], take)
    counter.remove()
    return found, sum(read)


@pytest.mark.parametrize("family", FAMILIES)
def test_any_family_gives_the_same_activations_or_reads_every_sequence_whole(family, tmp_path):
    model = random_model(family, tmp_path).bfloat16()
    source, ids = MlpNeurons(LAYERS, NEURONS), sequences([9, 14, 11, 4])
    may = may_share(model, source, dict(enumerate(source.taps(model))), ids[0])
    assert may == (family not in WINDOWED)
    if may:
        plain, all_tokens = activations(model, source, batch(ids, share=False))
        shared, tokens = activations(model, source, batch(ids, share=True))
        assert (all_tokens, tokens) == (4 * 36, 36 + 4 * 14)
        for layer, acts_NI in plain.items():
            assert torch.equal(shared[layer], acts_NI)


def rounding_alone_differs(plain, shared):
    """By twice what bfloat16's eight bits allow of a layer's largest: an Intel Xeon with AVX-512 showed no difference,
    an AMD EPYC with AVX2 alone up to 0.006."""
    return all((shared[layer] - acts_NI).abs().max() <= 2**-6 * acts_NI.abs().max() for layer, acts_NI in plain.items())


LENGTHS = [40, 39, 17], [8, 12], [110, 95], [300], [1, 1], [129], [193, 231, 67]  # blocks of attention, full and not


@pytest.mark.parametrize("template", [TEMPLATE, TEMPLATE * 3], ids=["22", "66"])
def test_of_a_real_model_rounding_alone_differs(template, smollm2):
    model, source = load_model(smollm2, "bfloat16", head=False, threads=1), MlpNeurons(30, 1536)
    for lengths in LENGTHS:
        ids = sequences(lengths, template)
        plain, shared = (
            activations(model, source, batch(ids, share, template), layers=(3, 12))[0] for share in (False, True)
        )
        assert rounding_alone_differs(plain, shared), lengths


@pytest.mark.parametrize("template", [TEMPLATE, TEMPLATE * 3], ids=["22", "66"])
def test_no_bit_depends_on_which_batches_a_shard_has_read_before(template, smollm2):
    model, source = load_model(smollm2, "bfloat16", head=False, threads=1), MlpNeurons(30, 1536)
    taps = dict(enumerate(source.taps(model)))
    batches = [batch(sequences(lengths, template), True, template, first) for first, lengths in enumerate(LENGTHS)]
    assert sum(1 for one in batches if len(one.shared_P)) > 3

    def run(some):
        found = {}

        def take(layer, seen_BTD, one):
            found[one.first, layer] = source.features(layer, seen_BTD)

        run_layers(model, {layer: taps[layer] for layer in (3, 12)}, some, take)
        return found

    alone = {key: acts for one in batches for key, acts in run([one]).items()}
    for order in (batches, batches[::-1]):
        found = run(order)
        assert found.keys() == alone.keys()
        assert [key for key in alone if not torch.equal(found[key], alone[key])] == []


def test_features_that_are_read_off_the_tokens_need_all_of_them(smollm2):
    model, source = (
        load_model(smollm2, "bfloat16", head=False, threads=1),
        PlantedSource(30, 3, lambda ids: ["a"] * len(ids)),
    )
    assert not may_share(model, source, {0: source.taps(model)[0]}, sequences([30])[0])


def test_a_template_that_differs_is_shared_as_far_as_it_is_the_same():
    ids = sequences([9, 9], TEMPLATE) + sequences([9], [*TEMPLATE[:20], 7, 7])
    one = batch(ids, share=True)
    assert one.shared_P.tolist() == TEMPLATE[:20] and one.input_ids_BT.shape == (3, 11)
    evidence = [row[22:] for row in ids]
    assert one.input_ids_BT.flatten()[one.evidence_N].tolist() == [token for row in evidence for token in row]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_in_dtypes_that_are_compared_to_the_bit_every_sequence_is_read_whole(dtype, smollm2):
    model, source = load_model(smollm2, dtype, head=False, threads=1), MlpNeurons(30, 1536)
    assert not may_share(model, source, {0: source.taps(model)[0]}, sequences([30])[0])


@pytest.mark.parametrize("ids", [[[1, 5, 6, 7, 8, 9, 10, 11, 12], [1, 5, 6, 7, 8, 9, 10, 11, 2]], [[5, 6], [7, 8]]])
def test_few_tokens_are_not_worth_it_and_evidence_is_never_shared(ids):
    assert not len(make_batch(0, ids, np.array([1, 1]), 8, share=True).shared_P)
