"""What neurons write: read off the weights, against what the model itself does when a neuron's activation is changed.

D the residual stream, V the vocabulary, I neurons, T tokens.
"""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from neuron_descriptions.features.neurons import down_projections
from neuron_descriptions.output_side.tables import OUTPUT_SIDE
from neuron_descriptions.output_side.writing import (
    WholeModel,
    _ends,
    check_readout,
    final_norm,
    unembedding,
    write_output_side,
    written,
)

SMALL = {"vocab_size": 61, "tie_word_embeddings": False}


def small_model(kind, **changes):
    """A model with random weights, its norms' too, in two layers of 48 neurons."""
    from transformers import AutoModelForCausalLM, Gemma2Config, GPT2Config, LlamaConfig

    torch.manual_seed(0)
    llama = {"hidden_size": 16, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
             "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 32}  # fmt: skip
    config = {
        "llama": lambda: LlamaConfig(**SMALL | llama | changes),
        "gemma2": lambda: Gemma2Config(**SMALL | llama | {"final_logit_softcapping": None} | changes),
        "gpt2": lambda: GPT2Config(**SMALL | {"n_embd": 16, "n_inner": 48, "n_layer": 2, "n_head": 2} | changes),
    }[kind]()
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def last_step(model, stream_D):
    """Logits of a residual stream, by the model's own final norm and head."""
    norm, head = final_norm(model), model.get_output_embeddings()
    return head(norm(stream_D[None]))[0]


@pytest.mark.parametrize(
    ("kind", "changes"),
    [("llama", {}), ("llama", {"tie_word_embeddings": True}), ("gpt2", {}), ("gpt2", {"tie_word_embeddings": True}),
     ("gemma2", {})],
)  # fmt: skip
def test_effects_are_the_derivative_of_the_logits_where_the_norm_s_scale_stands_still(kind, changes):
    model = small_model(kind, **changes)
    projections = down_projections(model, 2, 48)
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert tied == changes.get("tie_word_embeddings", False)
    columns_ID, readout_VD = written(model, projections[1]), unembedding(model)
    if kind != "gemma2":  # its block norms what the MLP writes: see below
        out_ID = torch.stack([projections[1](unit) for unit in torch.eye(48)]) - projections[1](torch.zeros(48))
        torch.testing.assert_close(columns_ID, out_ID, atol=1e-5, rtol=1e-4)
    for neuron in (0, 17, 47):
        w_D = columns_ID[neuron]
        centred = isinstance(final_norm(model), nn.LayerNorm)
        inner_D = w_D - w_D.mean() if centred else w_D
        stream_D = torch.randn(16)
        stream_D -= (stream_D @ inner_D) / (inner_D @ inner_D) * inner_D  # the scale does not change along w
        if centred:
            stream_D -= stream_D.mean()
        stream_D *= 4 / stream_D.norm()  # of scale 1
        _, true_V = torch.func.jvp(lambda x_D: last_step(model, x_D), (stream_D,), (w_D,))
        torch.testing.assert_close(readout_VD @ w_D, true_V, atol=2e-4, rtol=1e-3)


def test_a_norm_behind_the_mlp_is_folded_in():
    model = small_model("gemma2")
    columns_ID = written(model, down_projections(model, 2, 48)[0])
    layer = model.model.layers[0]
    weight_D = 1 + layer.post_feedforward_layernorm.weight
    torch.testing.assert_close(columns_ID, (layer.mlp.down_proj.weight * weight_D[:, None]).T, atol=1e-4, rtol=1e-3)


def test_a_model_whose_logits_come_another_way_is_refused():
    model = small_model("llama")
    check_readout(model, [1, 5, 9, 2])
    check_readout(small_model("gemma2", final_logit_softcapping=30.0), [1, 5, 9, 2])
    head = model.lm_head
    model.lm_head = nn.Sequential(nn.Linear(16, 16), head)
    model.get_output_embeddings = lambda: head
    with pytest.raises(ValueError, match=r"the logits of LlamaForCausalLM are not its final norm and unembedding"):
        check_readout(model, [1, 5, 9, 2])
    with pytest.raises(ValueError, match="odd width"):
        unembedding(small_model("gpt2", n_embd=15, n_head=3))


def test_numbers_of_a_row_are_those_of_scipy():
    from scipy.stats import kurtosis, skew

    effects_NV = torch.randn(5, 400) ** 3
    effects_NV = effects_NV - effects_NV.mean(1, keepdim=True)
    found, true = _ends(effects_NV, 3), effects_NV.double().numpy()
    np.testing.assert_allclose(found["std"], true.std(1), rtol=1e-4)
    np.testing.assert_allclose(found["skew"], skew(true, axis=1), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found["kurtosis"], kurtosis(true, axis=1), rtol=1e-3)
    order = true.argsort(1)
    assert np.array_equal(found["bottom_token_ids"], order[:, :3])
    assert np.array_equal(found["top_token_ids"], order[:, ::-1][:, :3])
    zero = _ends(torch.zeros(1, 400), 3)
    assert zero["std"] == zero["skew"] == zero["kurtosis"] == [0.0]


NEURONS = {0: [3, 700], 15: [3, 700], 29: [0, 3, 100, 700, 1200, 1535]}


@pytest.fixture(scope="module")
def rows(smollm2, tmp_path_factory):
    """Rows of neurons of SmolLM2, by layer and neuron."""
    folder = tmp_path_factory.mktemp("output_side")
    outputs = {layer: str(folder / f"layer-{layer}.parquet") for layer in NEURONS}
    write_output_side(WholeModel(smollm2, 30, 1536, None, "float32"), NEURONS, 20, 1, outputs)
    found = {}
    for path in outputs.values():
        table = pq.read_table(path)
        assert table.schema.names == OUTPUT_SIDE.names
        found |= {(row["layer"], row["neuron"]): row for row in table.to_pylist()}
    assert list(found) == [(layer, neuron) for layer, neurons in NEURONS.items() for neuron in neurons]
    return found


def changed_logits(model, ids_T, layer, neuron, by):
    """How all logits change when a neuron's activation is `by` larger at every token, (T, V), means taken away."""
    projection = down_projections(model, 30, 1536)[layer]

    def raise_it(module, args):
        acts = args[0].clone()
        acts[..., neuron] += by
        return (acts,)

    def logits_TV():
        with torch.no_grad():
            return model(input_ids=ids_T[None], use_cache=False).logits[0].float()

    before_TV = logits_TV()
    hook = projection.register_forward_pre_hook(raise_it)
    try:
        change_TV = logits_TV() - before_TV
    finally:
        hook.remove()
    return change_TV - change_TV.mean(1, keepdim=True)


def test_the_last_layer_s_neurons_change_the_logits_of_real_text_as_said(model, tokenizer, rows):
    ids_T = torch.tensor(tokenizer("The first ministers of the new government met in the capital.")["input_ids"])
    readout_VD = unembedding(model)
    readout_VD = readout_VD - readout_VD.mean(0)
    columns_ID = written(model, down_projections(model, 30, 1536)[29])
    for neuron in NEURONS[29]:
        effects_V, row = readout_VD @ columns_ID[neuron], rows[29, neuron]
        change_V = changed_logits(model, ids_T, 29, neuron, 1.0).mean(0)
        assert torch.corrcoef(torch.stack([effects_V, change_V]))[0, 1] > 0.9, neuron
        ids, rest = row["top_token_ids"] + row["bottom_token_ids"], effects_V.std(correction=0)
        np.testing.assert_allclose(row["top_effects"] + row["bottom_effects"], effects_V[ids], atol=2e-4)
        assert row["std"] == pytest.approx(float(rest), rel=1e-3)
        # The tokens that are named rise and fall, against all tokens.
        assert change_V[row["top_token_ids"]].mean() > change_V.std() > 0
        assert change_V[row["bottom_token_ids"]].mean() < -change_V.std()
        assert row["top_tokens"][0] == tokenizer.decode([row["top_token_ids"][0]]) or "\ufffd" in tokenizer.decode(
            [row["top_token_ids"][0]]
        )
