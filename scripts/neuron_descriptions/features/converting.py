"""Dictionaries as they are published, converted once to the one form that jobs read (dictionaries.py).

What a format says of its own conventions is honoured, or refused by name; nothing is guessed. No pickle is read.

D width of what is read, S features of a layer.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neuron_descriptions.common.logs import logger
from neuron_descriptions.config.features import FeaturesOfFiles, HeadFeatures, LatentFeatures
from neuron_descriptions.features.dictionaries import About, Dictionary, check, check_numbers, write_dictionary
from neuron_descriptions.features.published_files import positive, read_json, read_tensors

# TransformerLens' names of places, and the same in this workflow's terms.
_LENS = {
    "hook_resid_pre": "residual_in",
    "hook_resid_mid": "residual_mid",
    "hook_resid_post": "residual_out",
    "mlp.hook_in": "mlp_in",
    "hook_mlp_out": "mlp_out",
    "hook_attn_out": "attention_out",
    "attn.hook_z": "attention_z",
}
# Of a model's processing by TransformerLens: what changes no number that is read.
_HARMLESS = {"fold_ln": False, "center_writing_weights": False, "center_unembed": None, "fold_value_biases": False,
             "refactor_factored_attn_matrices": False, "n_ctx": None, "dtype": None, "revision": None}  # fmt: skip


def convert_dictionary(source: str, layer: int, features: FeaturesOfFiles, subject: list[str], output: str) -> None:
    """Convert a layer's features and write them.

    source: file or folder; features: the config's section of that name; subject: names that the subject goes by.
    Raises ValueError, naming both sides, where the dictionary is of another kind, number, hook, layer or model than
    the config says, or where a convention of its format is not known here.
    """
    dictionary = read_published(source, features)
    about = dictionary.about
    meant = [features.made_for] if isinstance(features, LatentFeatures) and features.made_for else []
    if about.model and not same_model(str(about.model), [*subject, *meant]):
        raise ValueError(
            f"{source} was made for {about.model}, but the subject is {' or '.join(subject)}; if that is meant, write"
            f" features.made_for: {about.model}"
        )
    if isinstance(features, HeadFeatures):  # its count is of heads times directions, and what these read is no place
        check_numbers(dictionary)
    else:
        check(dictionary, layer, features)
    write_dictionary(dictionary, output)
    logger.info("%s: %d features that read %d numbers, from %s", source, *dictionary.encoder_SD.shape, about.form)


def same_model(one: str, names: list[str]) -> bool:
    """Whether a model is one of these: by the last part of a name, whatever its case and punctuation."""
    plain = [re.sub(r"[^a-z0-9]", "", name.rstrip("/").rpartition("/")[2].lower()) for name in (one, *names)]
    return plain[0] in plain[1:]


def read_published(source: str, features: FeaturesOfFiles) -> Dictionary:
    """A layer's features as they were published. Raises ValueError as `convert_dictionary` does."""
    if not isinstance(features, LatentFeatures):
        return _directions(Path(source))
    form = _told_by_files(Path(source)) if features.format == "auto" else features.format
    try:
        found = _READERS[form](Path(source), features)
    except (OSError, KeyError, IndexError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{source} is not of the format {form} ({error!r}); correct features.format") from None
    found.path = source
    shapes = [found.bias_S.shape, *(t.shape for t in (found.threshold_S,) if t is not None)]
    shift = [t.shape for t in (found.shift_D,) if t is not None]
    whole = found.encoder_SD.shape
    if len(whole) != 2 or any(shape != whole[:1] for shape in shapes) or any(shape != whole[1:] for shape in shift):
        others = ", ".join(str(tuple(shape)) for shape in shapes + shift)
        raise ValueError(f"{source}: the encoder has shape {tuple(whole)}, its biases and thresholds {others}; the file"
                         " is damaged")  # fmt: skip
    return found


def _told_by_files(source: Path) -> str:
    names = {path.name for path in source.iterdir()} if source.is_dir() else {source.name}
    for form, file in (("saelens", "sae_weights.safetensors"), ("sparsify", "sae.safetensors"),
                       ("llama_scope", "hyperparams.json"), ("dictionary_learning", "ae.pt")):  # fmt: skip
        if file in names:
            return form
    for form, suffix in (("gemma_scope", ".npz"), ("dictionary_learning", ".pt"), ("circuit_tracer", ".safetensors")):
        if any(name.endswith(suffix) for name in names):
            return form
    raise ValueError(f"{source} holds no dictionary of a known format: it has {', '.join(sorted(names)) or 'nothing'}")


def _built(
    about: About,
    encoder_SD: Tensor,
    bias_S: Tensor,
    subtracted_D: Tensor | None = None,
    threshold_S: Tensor | None = None,
    scale_S: Tensor | None = None,
) -> Dictionary:
    """subtracted_D: from the input; threshold_S: of what comes before the activation; scale_S: features are multiplied
    by it before they are compared."""
    encoder_SD, bias_S = encoder_SD.double(), bias_S.double()
    if scale_S is not None:
        encoder_SD, bias_S = encoder_SD * scale_S.double()[:, None], bias_S * scale_S.double()
    shift_D = subtracted_D if subtracted_D is not None and bool(subtracted_D.any()) else None
    if threshold_S is not None and threshold_S.ndim == 0:
        threshold_S = threshold_S.expand(len(bias_S))
    floats = [t if t is None else t.float() for t in (encoder_SD, bias_S, shift_D, threshold_S)]
    return Dictionary(about, *floats)  # type: ignore[arg-type]


def _gated(
    about: About, encoder_SD: Tensor, gate: Tensor, mag: Tensor, r_mag: Tensor, b_dec: Tensor | None
) -> Dictionary:
    """A gate that shares its weights with the magnitude is a threshold (Rajamanoharan et al. 2024, appendix): w x +
    gate > 0 where e^r w x + mag > mag - e^r gate."""
    scale_S = r_mag.double().exp()
    threshold_S = mag.double() - scale_S * gate.double()
    return _built(about, encoder_SD.double() * scale_S[:, None], mag, b_dec, threshold_S)


# --- where a dictionary says that it reads -------------------------------------------------------------


def lens_hook(name: str | None, features: LatentFeatures) -> tuple[str | None, int | None]:
    """(hook, layer) of a place that a dictionary names, in this workflow's terms; (None, None) where it names none.
    Raises ValueError where it is not known, and the config does not say that `hook` is the same."""
    if not name:
        return None, None
    if found := re.fullmatch(r"blocks\.(\d+)\.(.+)", name):
        if found[2] in _LENS:
            return _LENS[found[2]], int(found[1])
        layer = int(found[1])
    else:
        layer = None
    if features.made_at == name:
        return features.hook, layer
    raise ValueError(
        f"the dictionary reads at {name}, which is not known here; where features.hook ({features.hook}) is the same"
        f" place, write features.made_at: {name}"
    )


# --- formats -----------------------------------------------------------------------------------------


def _saelens(folder: Path, features: LatentFeatures) -> Dictionary:
    """SAELens (6, and the older form, whose keys have other names)."""
    config = read_json(folder / "cfg.json")
    tensors = read_tensors(folder / "sae_weights.safetensors")
    metadata = {**config, **(config.get("metadata") or {})}
    kind = config.get("architecture", "standard")
    k = config.get("k") or (config.get("activation_fn_kwargs") or {}).get("k")
    activation = config.get("activation_fn") or config.get("activation_fn_str") or "relu"
    if activation == "topk" and kind == "standard":  # the older form
        kind = "topk"
    known = ("standard", "gated", "topk", "jumprelu", "transcoder", "skip_transcoder", "jumprelu_transcoder",
             "jumprelu_skip_transcoder")  # fmt: skip
    if kind not in known:
        raise ValueError(f"{folder}: the architecture {kind} is not supported; known are {', '.join(known)}")
    if activation not in ("relu", "topk"):
        raise ValueError(f"{folder}: the activation {activation} is not supported; known are relu and topk")
    processed = {
        key: value for key, value in (metadata.get("model_from_pretrained_kwargs") or {}).items()
        if key not in _HARMLESS or (_HARMLESS[key] is not None and value != _HARMLESS[key])
    }  # fmt: skip
    if processed:
        raise ValueError(
            f"{folder} was made for activations of a changed model ({processed}), which differ from those of the model"
            " as it is; take a dictionary that was made without"
        )
    if "scaling_factor" in tensors and not bool((tensors["scaling_factor"] == 1).all()):
        raise ValueError(f"{folder}: a scaling_factor other than 1 (finetuning_scaling_factor) is not supported")
    hook, layer = lens_hook(metadata.get("hook_name") or metadata.get("hook_point"), features)
    about = About(
        kind="transcoder" if kind.endswith("transcoder") else "autoencoder",
        activation="topk" if kind == "topk" else "relu",
        k=k if kind == "topk" else None,
        normalization=_normalization(config, folder),
        form=f"saelens {kind}",
        hook=hook,
        layer=layer,
        model=metadata.get("model_name"),
    )
    applied = config.get("apply_b_dec_to_input", about.kind == "autoencoder")
    b_dec = tensors.get("b_dec") if applied else None
    if kind == "gated":
        return _gated(about, tensors["W_enc"].T, tensors["b_gate"], tensors["b_mag"], tensors["r_mag"], b_dec)
    # An autoencoder that compares features by their share in the output scales them so.
    scale_S = tensors["W_dec"].double().norm(dim=1) if config.get("rescale_acts_by_decoder_norm") else None
    threshold_S = tensors["threshold"] if kind.startswith("jumprelu") else None
    return _built(about, tensors["W_enc"].T, tensors["b_enc"], b_dec, threshold_S, scale_S)


def _normalization(config: Mapping[str, Any], folder: Path) -> Any:
    said = config.get("normalize_activations", "none")
    # A mean norm is folded into the weights when training ends; until then it stands in no file.
    said = {False: "none", None: "none", True: "expected_average_only_in"}.get(said, said)
    if said in ("none", "constant_norm_rescale", "layer_norm"):
        return said
    raise ValueError(
        f"{folder}: normalize_activations {said} is not supported: its factors stand outside of these files; fold them"
        " into the weights first"
    )


def _sparsify(folder: Path, features: LatentFeatures) -> Dictionary:
    """sparsify (EleutherAI, 1.3): top-k of what is above 0; the folder's name is the hook's."""
    config, tensors = read_json(folder / "cfg.json"), read_tensors(folder / "sae.safetensors")
    transcoder = bool(config.get("transcode", False))
    activation = config.get("activation", "topk")
    if activation not in ("topk", "groupmax") or config.get("signed"):
        signed = " (signed)" if config.get("signed") else ""
        raise ValueError(f"{folder}: the activation {activation}{signed} is not supported; known are topk and groupmax")
    hook, layer = None, None
    if found := re.fullmatch(r"(?:.*\.)?(?:layers|h)\.(\d+)(\..+)?", folder.name):
        plain = {None: "residual_out", ".mlp": "mlp_in" if transcoder else "mlp_out"}
        layer, hook = int(found[1]), plain.get(found[2]) or lens_hook(folder.name, features)[0]
    about = About(
        kind="transcoder" if transcoder else "autoencoder",
        activation=activation,
        k=config["k"],
        form=f"sparsify {activation}",
        hook=hook,
        layer=layer,
    )
    b_dec = None if transcoder else tensors["b_dec"]
    return _built(about, tensors["encoder.weight"], tensors["encoder.bias"], b_dec)


def _gemma_scope(source: Path, features: LatentFeatures) -> Dictionary:
    """Gemma Scope (Lieberum et al. 2024): JumpReLU, nothing subtracted. The file names neither hook nor model."""
    path = source if source.is_file() else source / "params.npz"
    arrays = {name.lower(): tensor for name, tensor in read_tensors(path).items()}
    scale = arrays.get("scaling_factor")
    if scale is not None and not bool((scale == 1).all()):
        raise ValueError(f"{path}: a scaling_factor other than 1 is not supported")
    about = About(kind=features.kind, form="gemma_scope")
    return _built(about, arrays["w_enc"].T, arrays["b_enc"], None, arrays["threshold"])


def _dictionary_learning(source: Path, features: LatentFeatures) -> Dictionary:
    """dictionary_learning (Marks et al.): a file of weights, its class in config.json beside it."""
    folder = source if source.is_dir() else source.parent
    path = source if source.is_file() else folder / "ae.pt"
    tensors = read_tensors(path)
    trainer = read_json(folder / "config.json")["trainer"] if (folder / "config.json").is_file() else {}
    name = trainer.get("dict_class")
    if name is None:
        raise ValueError(
            f"{folder} has no config.json with trainer.dict_class, which says how {path.name} is to be read"
        )
    weight = tensors["W_enc"].T if "W_enc" in tensors else tensors["encoder.weight"]
    layer = trainer.get("layer")
    place = trainer.get("submodule_name")
    hook, _ = lens_hook(place, features) if place and not place.startswith("resid_post") else (None, None)
    if place and place.startswith("resid_post"):
        hook = "residual_out"
    k: Any = tensors["k"].tolist() if "k" in tensors else trainer.get("k")
    about = About(kind="autoencoder", form=f"dictionary_learning {name}", hook=hook, layer=layer,
                  model=trainer.get("lm_name"), activation="topk" if name == "AutoEncoderTopK" else "relu",
                  k=k if name == "AutoEncoderTopK" else None)  # fmt: skip
    if name == "GatedAutoEncoder":
        named = (tensors[key] for key in ("gate_bias", "mag_bias", "r_mag", "decoder_bias"))
        return _gated(about, weight, *named)
    if name == "JumpReluAutoEncoder":
        return _built(about, weight, tensors["b_enc"], None, tensors["threshold"])
    bias_S = tensors["encoder.bias"] if "encoder.bias" in tensors else tensors["b_enc"]
    if name == "AutoEncoderNew":
        return _built(about, weight, bias_S)
    if name == "AutoEncoder":
        return _built(about, weight, bias_S, tensors["bias"])
    if name in ("AutoEncoderTopK", "BatchTopKSAE", "MatryoshkaBatchTopKSAE"):
        # Over a batch, features of a token depend on other tokens; the threshold that stands for it does not.
        threshold_S = None if name == "AutoEncoderTopK" else tensors["threshold"].clamp(min=0)
        return _built(about, weight, bias_S, tensors["b_dec"], threshold_S)
    raise ValueError(f"{folder}: the class {name} is not supported")


def _llama_scope(folder: Path, features: LatentFeatures) -> Dictionary:
    """Llama Scope (He et al. 2024): JumpReLU with one threshold, of inputs scaled to a mean norm of sqrt(D)."""
    config = read_json(folder / "hyperparams.json")
    tensors = read_tensors(folder / "checkpoints" / "final.safetensors")
    if config.get("act_fn", "jumprelu") != "jumprelu":
        raise ValueError(f"{folder}: the activation {config['act_fn']} is not supported; known is jumprelu")
    if config.get("apply_decoder_bias_to_pre_encoder"):
        raise ValueError(f"{folder}: apply_decoder_bias_to_pre_encoder is not supported")
    hook, layer = lens_hook(config.get("hook_point_in"), features)
    norm = config["dataset_average_activation_norm"]["in"]
    scale = config["d_model"] ** 0.5 / positive(norm, "dataset_average_activation_norm.in", folder)
    kind = "autoencoder" if config.get("hook_point_out") in (None, config.get("hook_point_in")) else "transcoder"
    about = About(kind=kind, form="llama_scope", hook=hook, layer=layer)  # type: ignore[arg-type]
    if config["d_model"] != (width := tensors["encoder.weight"].shape[1]):
        raise ValueError(f"{folder}: d_model is {config['d_model']}, but the encoder reads {width} numbers")
    threshold = torch.tensor(positive(config["jump_relu_threshold"], "jump_relu_threshold", folder))
    return _built(about, tensors["encoder.weight"].double() * scale, tensors["encoder.bias"], None, threshold)


def _circuit_tracer(path: Path, features: LatentFeatures) -> Dictionary:
    """circuit-tracer's transcoders: a file per layer, relu(x W' + b); with a threshold, a JumpReLU."""
    tensors = read_tensors(path)
    return _built(About(kind="transcoder", form="circuit_tracer"), tensors["W_enc"], tensors["b_enc"], None,
                  tensors.get("activation_function.threshold"))  # fmt: skip


def _directions(path: Path) -> Dictionary:
    """A .npy of (S, D), or a .safetensors with `directions` and, where there is one, `bias`."""
    try:
        if path.suffix == ".npy":
            matrix_SD, bias_S = torch.from_numpy(np.load(path, allow_pickle=False)), None
        else:
            tensors = read_tensors(path)
            matrix_SD, bias_S = tensors["directions"], tensors.get("bias")
    except (OSError, KeyError, ValueError, TypeError, EOFError) as error:
        raise ValueError(
            f"{path} holds no directions ({error!r}): write a .npy of (count, width), or a .safetensors with"
            " `directions`"
        ) from None
    if matrix_SD.is_complex() or matrix_SD.ndim != 2 or (bias_S is not None and bias_S.shape != matrix_SD.shape[:1]):
        raise ValueError(
            f"{path}: directions have shape {tuple(matrix_SD.shape)}, not (count, width), or a bias of another length"
        )
    bias_S = torch.zeros(len(matrix_SD)) if bias_S is None else bias_S
    found = _built(About(kind="directions", activation="identity", form=path.suffix), matrix_SD, bias_S)
    found.path = str(path)
    return found


_READERS: dict[str, Callable[[Path, LatentFeatures], Dictionary]] = {
    "saelens": _saelens,
    "sparsify": _sparsify,
    "gemma_scope": _gemma_scope,
    "dictionary_learning": _dictionary_learning,
    "llama_scope": _llama_scope,
    "circuit_tracer": _circuit_tracer,
}
