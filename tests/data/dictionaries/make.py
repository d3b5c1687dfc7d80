"""Dictionaries written by their authors' own code, with the latents that it finds: what conversion is held against.

Not run by any test: it needs the authors' packages, in an environment of its own:

    python3.11 -m venv venv && venv/bin/pip install torch==2.13.0 sae-lens==6.54.12
    venv/bin/pip install --no-deps eai-sparsify==1.3.3 dictionary-learning==0.1.0
    venv/bin/python make.py <folder>
    venv/bin/python make.py <folder> activations.npy    # of a real model, (n, width), instead of drawn ones

Random weights, 16 numbers read, 48 latents; the numbers that are read have a mean, and one much larger than the others,
as those of a residual stream do. Gemma Scope's and Llama Scope's code is not published as a package: their files are
written here step by step as their cards say, and the latents are those of the authors' published formula, in float64.
"""

import json
import sys
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import torch
from safetensors.torch import save_file

GIVEN = torch.from_numpy(np.load(sys.argv[2])).float() if len(sys.argv) > 2 else None
(N, D), S = (40, 16) if GIVEN is None else GIVEN.shape, 48
LENS = {"model_name": "some-org/Tiny-Model", "hook_name": "blocks.5.hook_resid_post"}


def seen() -> torch.Tensor:
    """Numbers that are read, (N, D)."""
    if GIVEN is not None:
        return GIVEN
    torch.manual_seed(1)
    x = torch.randn(N, D) + 0.5
    x[:, 3] *= 30
    return x


def randomize(module: torch.nn.Module) -> None:
    torch.manual_seed(2)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            scale = 3.0 if name in ("threshold", "b_gate", "b_mag", "gate_bias", "mag_bias") else 0.4
            parameter.copy_(torch.randn_like(parameter) * scale)
            if name == "threshold":
                parameter.abs_()


def keep(folder: Path, latents: torch.Tensor) -> None:
    """Write what was read and found; refuses what would test nothing."""
    share = float((latents > 0).float().mean())
    assert 0.01 < share < 0.8, (folder.name, share)
    save_file({"seen": seen(), "latents": latents.detach().float().contiguous()}, folder / "expected.safetensors")
    print(f"{folder.name}: {share:.2f} of the latents fire")


def saelens(out: Path) -> None:
    from sae_lens.saes.batchtopk_sae import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
    from sae_lens.saes.gated_sae import GatedSAE, GatedSAEConfig
    from sae_lens.saes.jumprelu_sae import JumpReLUSAE, JumpReLUSAEConfig
    from sae_lens.saes.matryoshka_batchtopk_sae import (
        MatryoshkaBatchTopKTrainingSAE,
        MatryoshkaBatchTopKTrainingSAEConfig,
    )
    from sae_lens.saes.sae import SAE, SAEMetadata
    from sae_lens.saes.standard_sae import StandardSAE, StandardSAEConfig
    from sae_lens.saes.topk_sae import TopKSAE, TopKSAEConfig
    from sae_lens.saes.transcoder import (
        JumpReLUTranscoder,
        JumpReLUTranscoderConfig,
        SkipTranscoder,
        SkipTranscoderConfig,
        Transcoder,
        TranscoderConfig,
    )

    TO_12 = {"d_out": 12, "apply_b_dec_to_input": False}
    mlp = {"hook_name": "blocks.5.mlp.hook_in", "hook_name_out": "blocks.5.hook_mlp_out"}
    for name, kind, config, settings in (
        ("standard", StandardSAE, StandardSAEConfig, {}),
        ("standard-b_dec-not-subtracted", StandardSAE, StandardSAEConfig, {"apply_b_dec_to_input": False}),
        ("standard-layer_norm", StandardSAE, StandardSAEConfig, {"normalize_activations": "layer_norm"}),
        ("standard-constant_norm_rescale", StandardSAE, StandardSAEConfig,
         {"normalize_activations": "constant_norm_rescale"}),
        ("standard-bfloat16", StandardSAE, StandardSAEConfig, {"dtype": "bfloat16"}),
        ("gated", GatedSAE, GatedSAEConfig, {}),
        ("topk", TopKSAE, TopKSAEConfig, {"k": 5}),
        ("topk-decoder-norm", TopKSAE, TopKSAEConfig, {"k": 5, "rescale_acts_by_decoder_norm": True}),
        ("jumprelu", JumpReLUSAE, JumpReLUSAEConfig, {}),
        ("transcoder", Transcoder, TranscoderConfig, TO_12),
        ("skip_transcoder", SkipTranscoder, SkipTranscoderConfig, TO_12),
        ("jumprelu_transcoder", JumpReLUTranscoder, JumpReLUTranscoderConfig, TO_12),
    ):  # fmt: skip
        where = LENS | (mlp if "transcoder" in name else {})
        sae = kind(config(d_in=D, d_sae=S, metadata=SAEMetadata(**where), **settings))
        randomize(sae)
        sae.save_model(out / f"saelens-{name}")
        loaded = SAE.load_from_disk(out / f"saelens-{name}")
        keep(out / f"saelens-{name}", loaded.encode(seen()))
    for name, kind, config, settings in (
        ("batchtopk", BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig, {"k": 5}),
        ("matryoshka", MatryoshkaBatchTopKTrainingSAE, MatryoshkaBatchTopKTrainingSAEConfig,
         {"k": 5, "matryoshka_widths": [12, S]}),
    ):  # fmt: skip
        sae = kind(config(d_in=D, d_sae=S, metadata=SAEMetadata(**LENS), **settings))
        randomize(sae)
        sae.topk_threshold.fill_(1.5)
        sae.save_inference_model(out / f"saelens-{name}")
        keep(out / f"saelens-{name}", SAE.load_from_disk(out / f"saelens-{name}").encode(seen()))
    # The form before version 6: the same weights, keys with other names.
    sae = SAE.load_from_disk(out / "saelens-topk")
    folder = out / "saelens-before-6"
    sae.save_model(folder)
    old = {"architecture": "standard", "d_in": D, "d_sae": S, "activation_fn_str": "topk", "dtype": "float32",
           "activation_fn_kwargs": {"k": 5}, "apply_b_dec_to_input": True, "normalize_activations": "none",
           "device": "cpu", "finetuning_scaling_factor": False, **LENS}  # fmt: skip
    (folder / "cfg.json").write_text(json.dumps(old))
    keep(folder, SAE.load_from_disk(folder).encode(seen()))


def sparsify(out: Path) -> None:
    from sparsify import SparseCoder
    from sparsify.config import SparseCoderConfig

    for name, settings in (
        ("layers.5", {}),
        ("layers.5.mlp", {"transcode": True, "skip_connection": True}),
        ("groupmax/layers.5", {"activation": "groupmax", "k": 6}),
    ):
        coder = SparseCoder(D, SparseCoderConfig(**{"num_latents": S, "k": 5} | settings))
        randomize(coder)
        folder = out / "sparsify" / name
        coder.save_to_disk(folder)
        found = SparseCoder.load_from_disk(folder).encode(seen())
        latents = torch.zeros(N, S).scatter_(1, found.top_indices, found.top_acts)
        keep(folder, latents)


def dictionary_learning(out: Path) -> None:
    # What its other modules need, and dictionaries do not.
    sys.modules.update({name: MagicMock() for name in ("nnsight", "wandb")})
    from dictionary_learning.dictionary import AutoEncoder, AutoEncoderNew, GatedAutoEncoder, JumpReluAutoEncoder
    from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
    from dictionary_learning.trainers.top_k import AutoEncoderTopK

    for kind, more in (
        (AutoEncoder, ()), (AutoEncoderNew, ()), (GatedAutoEncoder, ()), (JumpReluAutoEncoder, ()),
        (AutoEncoderTopK, (5,)), (BatchTopKSAE, (5,)),
    ):  # fmt: skip
        coder = kind(D, S, *more)
        randomize(coder)
        if hasattr(coder, "threshold") and not isinstance(coder.threshold, torch.nn.Parameter):
            coder.threshold.fill_(1.5)
        folder = out / "dictionary_learning" / kind.__name__
        folder.mkdir(parents=True)
        torch.save(coder.state_dict(), folder / "ae.pt")
        trainer = {"dict_class": kind.__name__, "activation_dim": D, "dict_size": S, "layer": 5,
                   "lm_name": "some-org/Tiny-Model", "submodule_name": "resid_post_layer_5"}  # fmt: skip
        trainer |= {"k": 5} if more else {}
        (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {"d_submodule": D}}))
        keep(folder, coder.encode(seen()))


def gemma_scope(out: Path) -> None:
    rng = np.random.default_rng(3)
    w = {"W_enc": (D, S), "W_dec": (S, D), "b_enc": (S,), "b_dec": (D,), "threshold": (S,)}
    arrays = {name: (rng.standard_normal(shape) * 0.4).astype(np.float32) for name, shape in w.items()}
    arrays["threshold"] = np.abs(arrays["threshold"]) * 4
    folder = out / "gemma_scope/layer_5/width_48/average_l0_9"
    folder.mkdir(parents=True)
    np.savez(folder / "params.npz", **arrays)
    pre = seen().double().numpy() @ arrays["W_enc"].astype(np.float64) + arrays["b_enc"]
    keep(folder, torch.from_numpy((pre > arrays["threshold"]) * np.maximum(pre, 0)))


def llama_scope(out: Path) -> None:
    rng = np.random.default_rng(4)
    w = {"encoder.weight": (S, D), "decoder.weight": (D, S), "encoder.bias": (S,), "decoder.bias": (D,)}
    arrays = {
        name: torch.from_numpy((rng.standard_normal(shape) * 0.4).astype(np.float32)) for name, shape in w.items()
    }
    folder = out / "llama_scope/Llama3_1-8B-Base-L5R-3x"
    (folder / "checkpoints").mkdir(parents=True)
    save_file(arrays, folder / "checkpoints/final.safetensors")
    config = {"d_model": D, "d_sae": S, "jump_relu_threshold": 0.6, "hook_point_in": "blocks.5.hook_resid_post",
              "hook_point_out": "blocks.5.hook_resid_post", "act_fn": "jumprelu", "use_decoder_bias": True,
              "apply_decoder_bias_to_pre_encoder": False,
              "dataset_average_activation_norm": {"in": 17.125, "out": 17.125}}  # fmt: skip
    (folder / "hyperparams.json").write_text(json.dumps(config))
    scaled = seen().double() * (D**0.5 / 17.125)
    pre = scaled @ arrays["encoder.weight"].double().T + arrays["encoder.bias"].double()
    keep(folder, pre.relu() * (pre > 0.6))


if __name__ == "__main__":
    target = Path(sys.argv[1])
    for make in (saelens, sparsify, dictionary_learning, gemma_scope, llama_scope):
        make(target)
