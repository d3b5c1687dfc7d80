"""A model that ends after some of its layers: the final norm and the head read what these give."""

from typing import Any


def layers_of(model: Any) -> int | None:
    """How many layers a model has, as its configuration says; None where it does not."""
    return getattr(model.config.get_text_config(decoder=True), "num_hidden_layers", None)


def cut(model: Any, layers: int) -> Any:
    """The model with its first so many layers alone, changed in place, so that it is saved and loaded as such.

    model: a causal model with a head. Raises ValueError where it has fewer layers, or does not stand as one list of
    layers, each of which reads what the one before it gives.
    """
    import torch

    config = model.config.get_text_config(decoder=True)
    has = layers_of(model)
    kind = model.config.model_type
    if has is None or config.is_encoder_decoder or getattr(config, "num_kv_shared_layers", 0):
        raise ValueError(f"layers: a model of the kind {kind} cannot be cut; leave `layers` out")
    if layers > has:
        raise ValueError(f"layers: {layers} are wanted, and the base has {has}; take fewer, or leave `layers` out")
    lists = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList) and len(module) == has]
    if len(lists) != 1:
        raise ValueError(
            f"layers: a model of the kind {kind} has {len(lists)} lists of {has} layers, not one, so it cannot be cut;"
            " leave `layers` out"
        )
    del lists[0][layers:]
    for name, value in config.to_dict().items():  # what is said of each layer, such as its kind of attention
        if "layer" in name and isinstance(value, list) and len(value) == has:
            setattr(config, name, value[:layers])
    config.num_hidden_layers = layers
    return model
