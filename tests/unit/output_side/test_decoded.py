"""What latents, directions and heads write: against the logits of a model in which it is added where they are, all
norms behind that standing still and nothing later reading it.

D the residual stream, X whatever a place holds, F features, V the vocabulary.
"""

import re

import pytest
import torch
from safetensors.torch import save_file
from test_output_side import small_model
from torch import nn

from neuron_descriptions.config.base import restored
from neuron_descriptions.config.features import Features
from neuron_descriptions.features.dictionaries import About, Dictionary, write_dictionary
from neuron_descriptions.features.neurons import Tap, down_projections
from neuron_descriptions.output_side.decoded import IN_STREAM, Stream, open_decoded
from neuron_descriptions.output_side.writing import WholeModel, open_writers, unembedding

SHAPE = {"n_layers": 2, "n_neurons": 48, "module": None, "dtype": "float32"}
LAST, IDS, F = 1, torch.tensor([[5, 1, 9, 2]]), 4
MLP, ATTENTION = "model.layers.{layer}.mlp", "model.layers.{layer}.self_attn"
WIDTHS = {"attention_z": 16, f"{MLP}.down_proj:input": 48, f"{ATTENTION}.o_proj:input": 16}
NAMED = [f"{MLP}:output", f"{MLP}.down_proj:input", f"{ATTENTION}.o_proj:input", f"{ATTENTION}.o_proj:output"]
PLACES = [*IN_STREAM, "attention_z", "mlp_module", *NAMED]


def logits(model, tap=None, row_X=None):
    """Logits (V) of the last token, with a row added at a tap at every token."""

    def add(value):
        first, *rest = value if isinstance(value, tuple) else (value,)
        return (first + row_X, *rest) if isinstance(value, tuple) else first + row_X

    if tap is None:
        with torch.no_grad():
            return model(input_ids=IDS, use_cache=False).logits[0, -1]
    if tap.side == "input":
        hook = tap.module.register_forward_pre_hook(lambda module, args: add(args))
    else:
        hook = tap.module.register_forward_hook(lambda module, args, out: add(out))
    try:
        return logits(model)
    finally:
        hook.remove()


def still(model, kind):
    """Norms behind what a layer writes keep their weights and have a scale of 1."""
    layer = model.model.layers[LAST]
    behind = [model.model.norm]
    if kind == "gemma2":
        behind += [layer.post_attention_layernorm, layer.post_feedforward_layernorm]
    for norm in behind:
        weight_D = norm.weight if kind == "llama" else 1 + norm.weight
        norm.forward = lambda x, weight_D=weight_D: x * weight_D


def direct_effects(model, kind, tap, rows_FX, blocked):
    """Changes of the logits (F, V), means taken away. blocked: modules that give nothing."""
    still(model, kind)
    for module in blocked:
        module.register_forward_hook(lambda module, args, out: torch.zeros_like(out))
    before_V = logits(model)
    changes_FV = torch.stack([logits(model, tap, row_X) - before_V for row_X in rows_FX])
    return changes_FV - changes_FV.mean(1, keepdim=True)


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
@pytest.mark.parametrize("place", PLACES)
def test_what_reaches_the_stream_changes_the_logits_as_said(kind, place):
    model = small_model(kind)
    if kind == "gemma2":
        model.config.final_logit_softcapping = None
    stream = Stream(model, WholeModel("", **SHAPE))
    layer, down = model.model.layers[LAST], down_projections(model, 2, 48)[LAST]
    # What reads the stream between attention and MLP is not the stream itself: what attention adds is.
    added = {"residual_mid": "attention_out"}.get(place, place)
    tap = Tap(down, "output") if place == "mlp_module" else stream.taps(added)[LAST]
    rows_FX = 0.1 * torch.randn(F, WIDTHS.get(place, 16))
    said_FV = stream.reached(LAST, place, rows_FX) @ unembedding(model).T
    blocked = [] if place in ("residual_out", "mlp_out", "mlp_module") or MLP in place else [down]
    blocked += [layer.self_attn.o_proj] if place == "residual_in" else []
    true_FV = direct_effects(model, kind, tap, rows_FX, blocked)
    torch.testing.assert_close(said_FV - said_FV.mean(1, keepdim=True), true_FV, atol=2e-4, rtol=2e-3)
    assert true_FV.abs().max() > 0.05


@pytest.mark.parametrize("hook", ["mlp_in", f"{MLP}.up_proj:output", f"{ATTENTION}.q_proj:input"])
def test_what_reaches_no_stream_is_refused(hook):
    stream = Stream(small_model("llama"), WholeModel("", **SHAPE))
    with pytest.raises(ValueError, match=r"nothing tells what is added to the residual stream .* features.hook, "):
        stream.reached(LAST, hook, torch.zeros(1, 16))
    with pytest.raises(ValueError, match=r"what is written has 5 numbers, but the subject has 16 at residual_out"):
        stream.reached(LAST, "residual_out", torch.zeros(1, 5))


def directions(tmp_path, rows_SX, kind, **more):
    """Converted directions, and the subject that has them."""
    path = str(tmp_path / "converted.safetensors")
    write_dictionary(Dictionary(About("directions", "identity"), rows_SX, torch.zeros(len(rows_SX))), path)
    section = restored(Features, {"kind": kind, "path": path, "count": len(rows_SX), **more})
    return WholeModel("", **SHAPE, features=section, files={LAST: path})


@pytest.mark.parametrize("hook", ["residual_out", "attention_z"])
def test_a_direction_writes_the_least_change_that_raises_it_by_one(hook, tmp_path):
    model, read_SX = small_model("llama"), 3 * torch.randn(5, 16)
    found_FD = open_decoded(model, directions(tmp_path, read_SX, "directions", hook=hook))(LAST, [4, 0])
    rows_FX = torch.stack([read_SX[4] / read_SX[4].norm() ** 2, read_SX[0] / read_SX[0].norm() ** 2])
    torch.testing.assert_close((rows_FX * read_SX[[4, 0]]).sum(1), torch.ones(2))
    through = model.model.layers[LAST].self_attn.o_proj if hook == "attention_z" else nn.Identity()
    torch.testing.assert_close(found_FD, through(rows_FX).detach(), atol=1e-5, rtol=1e-4)


def test_a_head_s_projection_writes_what_only_this_head_can(tmp_path):
    """The least change of a head's own numbers is the one that autograd finds steepest."""
    model, read_SD = small_model("llama"), torch.randn(3, 16)
    subject = directions(tmp_path, read_SD, "attention_heads")
    section = restored(Features, {"kind": "attention_heads", "path": subject.features.path, "count": 6})
    subject = WholeModel("", **SHAPE, features=section, files=subject.files)
    found_FD = open_writers(model, subject)(LAST, [0, 2, 3, 5])  # head 0 on 0 and 2, head 1 on 0 and 2
    projection = model.model.layers[LAST].self_attn.o_proj
    for row_D, (head, number) in zip(found_FD, ((0, 0), (0, 2), (1, 0), (1, 2))):
        z_I = torch.zeros(16, requires_grad=True)
        own = torch.zeros(16)
        own[8 * head : 8 * head + 8] = 1
        projected = projection(z_I * own) @ read_SD[number]
        (steepest_I,) = torch.autograd.grad(projected, z_I)
        change_I = steepest_I / steepest_I.norm() ** 2
        torch.testing.assert_close(row_D, projection(change_I).detach(), atol=1e-5, rtol=1e-4)
        assert float((projection(change_I) @ read_SD[number]).detach()) == pytest.approx(1, rel=1e-4)
    wrong = restored(Features, {"kind": "attention_heads", "path": subject.features.path, "count": 7})
    with pytest.raises(ValueError, match=r"features\.count is 7, but the subject has 2 heads times 3 directions"):
        open_writers(model, WholeModel("", **SHAPE, features=wrong, files=subject.files))(LAST, [0])


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_a_transcoder_of_sparsify_writes_what_the_mlp_s_own_module_gives(kind, tmp_path):
    model, decoder_SD = small_model(kind), torch.randn(6, 16)
    folder = tmp_path / f"layers.{LAST}.mlp"
    folder.mkdir()
    tensors = {"W_dec": decoder_SD, "b_dec": torch.zeros(16), "encoder.weight": torch.randn(6, 16)}
    save_file(tensors | {"encoder.bias": torch.zeros(6)}, folder / "sae.safetensors")
    (folder / "cfg.json").write_text('{"activation": "topk", "k": 2, "num_latents": 6, "d_in": 16, "transcode": true}')
    section = restored(Features, {"kind": "transcoder", "path": str(folder), "count": 6})
    found_FD = open_writers(model, WholeModel("", **SHAPE, features=section, files={LAST: str(folder)}))(LAST, [5, 1])
    norm = model.model.layers[LAST].post_feedforward_layernorm if kind == "gemma2" else None
    expected_FD = decoder_SD[[5, 1]] * (1 if norm is None else 1 + norm.weight.detach())
    torch.testing.assert_close(found_FD, expected_FD, atol=1e-4, rtol=1e-3)
    other = restored(Features, {"kind": "transcoder", "path": str(folder), "count": 7})
    with pytest.raises(ValueError, match=re.escape("features.count is 7")):
        open_writers(model, WholeModel("", **SHAPE, features=other, files={LAST: str(folder)}))(LAST, [0])
