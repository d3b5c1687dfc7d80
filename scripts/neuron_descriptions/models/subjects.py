"""What a model's config.json says that a run should know before anything starts. Imports neither torch nor
transformers: planning asks."""

from pathlib import Path
from typing import Any

from neuron_descriptions.common.user_files import parsed_json, read_text

# One fact, as families name it.
POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "n_ctx")
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_moe_experts")
WITHOUT_MLP = ("mamba", "mamba2", "falcon_mamba")


def check_subject(
    folder: str, n_layers: int | None = None, seq_len: int | None = None, module: str | None = None
) -> None:
    """Raises ValueError where the model in a folder cannot be the subject, or is not what the configuration says:
    encoder-decoders, mixtures of experts (unless `module` names what to read), models without MLPs, another number of
    layers, fewer positions than a sequence has tokens. What config.json does not say is not checked."""
    check_described(model_config(folder), folder, n_layers, seq_len, module)


def check_described(
    about: dict[str, Any],
    folder: str,
    n_layers: int | None = None,
    seq_len: int | None = None,
    module: str | None = None,
) -> None:
    """The same of what a config.json says, or another file that is named `folder`."""
    if about.get("is_encoder_decoder"):
        raise ValueError(
            f"{folder} is an encoder-decoder model ({about.get('model_type')}); these are not supported as a subject:"
            " take a causal language model"
        )
    # A model that also sees or hears has a section for its language model.
    text: dict[str, Any] = next((about[k] for k in ("text_config", "llm_config") if isinstance(about.get(k), dict)), {})
    if about.get("model_type") in WITHOUT_MLP and module is None:
        raise ValueError(f"{folder} is a state-space model ({about['model_type']}): it has no MLP neurons to describe")
    counts = (section.get(key) for section in (text, about) for key in EXPERTS)
    experts = next((n for n in counts if isinstance(n, int) and n > 1), None)
    if experts and module is None:
        raise ValueError(
            f"{folder} is a mixture of {experts} experts ({about.get('model_type')}): neurons of experts, which read"
            " only some of the tokens, are not supported; take a dense model"
        )
    found = _first(text, LAYERS) or _first(about, LAYERS)
    if n_layers is not None and found is not None and found != n_layers:
        raise ValueError(f"subject.layers is {n_layers}, but {folder} has {found} layers; correct it")
    positions = _first(text, POSITIONS) or _first(about, POSITIONS)
    if seq_len is not None and positions is not None and seq_len > positions:
        raise ValueError(
            f"corpus.seq_len {seq_len} is more than the {positions} positions of the subject {folder}; lower it"
        )


def model_config(folder: str) -> dict[str, Any]:
    """What a model's config.json says. Raises ValueError that names it where it is missing or says nothing."""
    path = Path(folder, "config.json")
    try:
        about = parsed_json(read_text(str(path), ""), str(path))
    except OSError as error:
        raise ValueError(str(error)) from None
    if not isinstance(about, dict):
        raise ValueError(f"{path} holds no JSON object")
    return about


def _number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _first(section: dict[str, Any], names: tuple[str, ...]) -> int | None:
    return next((section[name] for name in names if _number(section.get(name)) and section[name] > 0), None)
