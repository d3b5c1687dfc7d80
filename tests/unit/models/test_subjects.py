"""What a model's config.json says against it as a subject, before any weights are there."""

import json

import pytest

from neuron_descriptions.models.subjects import check_subject

LLAMA = {"model_type": "llama", "num_hidden_layers": 2, "max_position_embeddings": 64}
REFUSED = {
    "gpt2": ({"model_type": "gpt2", "n_layer": 2, "n_positions": 32}, "seq_len 48 is more than the 32 positions"),
    "a language model within": (
        {"model_type": "gemma3", "text_config": LLAMA | {"max_position_embeddings": 32}, "vision_config": LLAMA},
        "seq_len 48 is more than the 32 positions",
    ),
    "other layers": (LLAMA | {"num_hidden_layers": 3}, "subject.layers is 2, but .* has 3 layers; correct it"),
    "t5": ({"model_type": "t5", "is_encoder_decoder": True}, r"is an encoder-decoder model \(t5\)"),
    "mixtral": (LLAMA | {"model_type": "mixtral", "num_local_experts": 8}, r"is a mixture of 8 experts \(mixtral\)"),
    "mamba": ({"model_type": "mamba", "num_hidden_layers": 2}, "it has no MLP neurons to describe"),
    "no object": ([], "config.json holds no JSON object"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_the_subject_is_refused(kind, tmp_path):
    about, said = REFUSED[kind]
    (tmp_path / "config.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match=said):
        check_subject(str(tmp_path), 2, 48)


@pytest.mark.parametrize(
    "about",
    [
        LLAMA,
        LLAMA | {"num_local_experts": 1, "n_routed_experts": None, "is_encoder_decoder": False},
        {"model_type": "gemma3", "text_config": LLAMA, "vision_config": {"num_hidden_layers": 9}},
        {"model_type": "bloom", "n_layer": 2, "seq_length": 16},  # no learned positions
        {"model_type": "unknown"},
    ],
)
def test_what_can_be_the_subject_passes(about, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(about))
    check_subject(str(tmp_path), 2, 48)


def test_a_module_that_is_named_is_taken_at_its_word(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA | {"num_experts": 8}))
    check_subject(str(tmp_path), 2, 48, module="model.layers.{layer}.shared_expert.down_proj")
