"""What scaling a neuron changes: against a model whose MLP's output is changed instead, and counted one by one."""

import numpy as np
import pytest
import torch

from neuron_descriptions.common.signs import direction
from neuron_descriptions.common.storage import read_table
from neuron_descriptions.config.output_side import OutputSide
from neuron_descriptions.features.neurons import down_projections
from neuron_descriptions.output_side import scaling
from neuron_descriptions.output_side.scaled import OUTPUT_SCALED
from neuron_descriptions.output_side.scaling import Changes, compared, mean_change, scale_output_side, strongest
from neuron_descriptions.output_side.writing import WholeModel, unembedding, written
from neuron_descriptions.panel.reading import Panel
from planted_panels import VOCABULARY, gated_model, sentences, write_panel

LAYER, NEURONS = 1, 8


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """A small gated model, and a panel with the activations of eight neurons of its last layer."""
    model = gated_model()
    rows, seen = sentences(np.random.default_rng(0), 30), []
    hook = down_projections(model, 2, 48)[LAYER].register_forward_pre_hook(lambda m, args: seen.append(args[0][0]))
    with torch.no_grad():
        for _, ids in rows:
            model(input_ids=torch.tensor([ids]))
    hook.remove()
    acts = torch.cat([acts_TI[prefix:] for acts_TI, (prefix, _) in zip(seen, rows)]).T[10 : 10 + NEURONS].numpy()
    folder = tmp_path_factory.mktemp("panel")
    corpus, file = write_panel(folder, "panel_test", rows, acts, LAYER)
    return model, rows, acts, Panel(corpus, [file])


@pytest.mark.parametrize("sign", ["positive", "negative"])
def test_places_are_the_strongest_and_their_sequences_go_to_one_half_each(read, sign):
    _, rows, acts, panel = read
    up = direction(sign) * acts[3]
    ranked = sorted((p for p in range(len(up)) if up[p] > 0), key=lambda p: (-up[p], p))[: scaling.PLACES]
    starts = np.cumsum([0] + [len(ids) - prefix for prefix, ids in rows])
    found = {}
    for half, texts in enumerate(strongest(panel, acts[3], sign)):
        for ids, places in texts:
            sequence = next(i for i, (_, own) in enumerate(rows) if own == ids)
            assert sequence not in found
            found[sequence] = (half, [starts[sequence] + place - rows[sequence][0] for place in places])
    assert sorted(p for _, places in found.values() for p in places) == sorted(ranked)
    assert {half for half, _ in found.values()} == {0, 1}


@pytest.mark.parametrize("up", [30.0, -25.0])
def test_scaling_is_adding_what_the_neuron_would_write_more(read, up):
    """The same by a hook on what the MLP writes: (factor - 1) times the activation of that sign, in its column."""
    model, rows, _, _ = read
    texts = [(rows[0][1], [3, 9]), (rows[4][1], [5])]
    projection = down_projections(model, 2, 48)[LAYER]
    found = mean_change(model, projection, 13, up, texts)
    column_D, sums = projection.weight.detach()[:, 13], torch.zeros(VOCABULARY + 1)

    def add(module, args, out):
        acts = args[0][..., 13]
        return out + ((abs(up) - 1) * acts * (acts * up > 0))[..., None] * column_D

    for ids, places in texts:
        with torch.no_grad():
            before = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(1)
            hook = projection.register_forward_hook(add)
            after = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(1)
            hook.remove()
        sums += (after - before)[places].sum(0)
    torch.testing.assert_close(found, sums / 3, atol=1e-5, rtol=1e-3)
    assert found.abs().max() > 1e-3 and not projection._forward_pre_hooks


def test_an_effect_is_set_against_other_neurons_on_the_half_that_tokens_were_not_chosen_on():
    random = np.random.default_rng(0)
    draw = [Changes(*(torch.tensor(random.normal(size=9)) for _ in range(2)), 7) for _ in range(6)]
    found = compared(draw[0], draw[1:], 3, list("abcdefgh"))  # the last token of the nine is no word
    for end, turn in (("up", 1), ("down", -1)):
        best = sorted(range(8), key=lambda v: -turn * float(draw[0].chosen_V[v]))[:3]
        assert found[f"{end}_tokens"] == ["abcdefgh"[v] for v in best]
        assert found[f"{end}_changes"] == pytest.approx([float(draw[0].shown_V[v]) for v in best])
        others = [np.mean([float(one.shown_V[v]) for v in best]) for one in draw[1:]]
        own = np.mean(found[f"{end}_changes"])
        assert found[f"{end}_effect"] == pytest.approx((own - np.mean(others)) / np.std(others, ddof=1))
    assert (found["n_places"], found["n_others"]) == (7, 5)
    assert compared(draw[0], draw[1:2], 3, list("abc"))["up_effect"] is None


def test_of_the_last_layer_tokens_rise_that_its_weights_name(read, tmp_path, monkeypatch):
    """The whole job: the last layer's column leads straight to the logits."""
    model, _, _, panel = read
    monkeypatch.setattr(scaling, "load_model", lambda *args, **more: model)
    monkeypatch.setattr(scaling, "load_tokenizer", lambda folder: range(VOCABULARY))
    monkeypatch.setattr(scaling, "vocabulary", lambda tokenizer, size: [str(i) for i in range(size)])
    subject = WholeModel("", n_layers=2, n_neurons=48, module=None, dtype="float32")
    named = {LAYER: list(range(10, 10 + NEURONS))}
    tables = []
    for number in range(2):
        output = str(tmp_path / f"{number}.parquet")
        scale_output_side(subject, panel, named, OutputSide(scaled=6, tokens=5), 0, 1, output)
        tables.append(read_table(output, OUTPUT_SCALED))
    assert tables[0] == tables[1] and len(tables[0]) == 12
    effects_VI = unembedding(model) @ written(model, down_projections(model, 2, 48)[LAYER]).T
    places = []
    for row in tables[0].to_pylist():
        assert row["n_others"] == 5 and 0 < row["n_places"] <= scaling.PLACES and row["factor"] == 3
        ranks = (-direction(row["sign"]) * effects_VI[:VOCABULARY, row["neuron"]]).argsort().argsort()
        places += [int(ranks[int(token)]) for token in row["up_tokens"]]
    assert np.median(places) < VOCABULARY / 4  # by chance the middle
