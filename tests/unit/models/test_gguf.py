"""A user's own GGUF file: what its header says at once, and a small one converted."""

import gguf
import numpy as np
import pytest
import torch

from neuron_descriptions.config.models import GgufModel
from neuron_descriptions.models.fetching import fetch_model
from neuron_descriptions.models.gguf import described, gguf_header
from neuron_descriptions.models.loading import load_model, load_tokenizer
from neuron_descriptions.models.subjects import check_described

HIDDEN, NEURONS, LAYERS = 32, 64, 2
TOKENS = ["<s>", *map(chr, range(97, 123)), "Ġ", "th", "the"]


def written(path, kind="llama", without=()):
    """A Llama of two layers as llama.cpp writes it; returns its weights by their names there."""
    random = np.random.default_rng(0)
    writer = gguf.GGUFWriter(str(path), kind)
    writer.add_block_count(LAYERS)
    writer.add_context_length(64)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(NEURONS)
    writer.add_head_count(4)
    writer.add_head_count_kv(4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3] + [1] * (len(TOKENS) - 1))
    writer.add_token_merges(["t h", "th e"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    square, wide = (HIDDEN, HIDDEN), (NEURONS, HIDDEN)
    shapes = {"token_embd": (len(TOKENS), HIDDEN), "output": (len(TOKENS), HIDDEN), "output_norm": (HIDDEN,)}
    for layer in range(LAYERS):
        of_layer = {"attn_q": square, "attn_k": square, "attn_v": square, "attn_output": square, "ffn_gate": wide}
        of_layer |= {"ffn_up": wide, "ffn_down": wide[::-1], "attn_norm": (HIDDEN,), "ffn_norm": (HIDDEN,)}
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in of_layer.items()}
    tensors = {f"{n}.weight": random.normal(size=s).astype(np.float32) for n, s in shapes.items() if n not in without}
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


def test_a_file_of_ones_own_is_converted_whatever_stands_beside_it(tmp_path):
    weights = written(tmp_path / "mine.gguf")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    spec = GgufModel(source="gguf", path=str(tmp_path / "mine.gguf"))
    fetch_model(spec, str(tmp_path / "out"))
    model = load_model(str(tmp_path / "out"), "float32", head=True, threads=1)
    found = model.state_dict()["model.layers.1.mlp.down_proj.weight"]
    assert torch.equal(found, torch.from_numpy(weights["blk.1.ffn_down.weight"]))
    assert load_tokenizer(str(tmp_path / "out"))("the")["input_ids"][-1] == TOKENS.index("the")
    with pytest.raises(ValueError, match=r"mine\.gguf: sha256 is .* the config says 0000"):
        fetch_model(spec.model_copy(update={"sha256": "0" * 64}), str(tmp_path / "other"))
    written(tmp_path / "lacking.gguf", without=("blk.1.ffn_up",))
    with pytest.raises(ValueError, match=r"lacks 1 weights of a LlamaForCausalLM, such as model\.layers\.1\.mlp\.up"):
        fetch_model(spec.model_copy(update={"path": str(tmp_path / "lacking.gguf")}), str(tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def test_the_header_says_what_a_plan_asks(tmp_path):
    written(tmp_path / "mine.gguf")
    header = gguf_header(tmp_path / "mine.gguf")
    assert header["general.architecture"] == "llama" and "tokenizer.ggml.tokens" not in header
    about = described(header)
    check_described(about, "mine.gguf", LAYERS, 64)
    with pytest.raises(ValueError, match=r"subject.layers is 3, but mine.gguf has 2 layers"):
        check_described(about, "mine.gguf", 3, 64)
    with pytest.raises(ValueError, match=r"seq_len 65 is more than the 64 positions of the subject mine.gguf"):
        check_described(about, "mine.gguf", LAYERS, 65)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: b"", "is no GGUF file"),
        (lambda data: b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS: fetch it with `git lfs"),
        (lambda data: data[:4] + b"\1\0\0\0" + data[8:], "of version 1"),
        (lambda data: data[:4] + b"\0\0\0\3" + data[8:], "with its bytes in another order"),
        (lambda data: data[:400], "is damaged or ends too early"),
        (lambda data: data[: -HIDDEN * 8], "ends before its last tensor"),
        (lambda data: data[:16] + b"\xff" * 8 + data[24:], "more values than any model has"),
        (lambda data: data[:24] + b"\xff" * 8 + data[32:], "is damaged or ends too early"),
    ],
)
def test_a_file_that_cannot_be_is_named_at_once(tmp_path, damage, said):
    written(tmp_path / "mine.gguf")
    data = damage((tmp_path / "mine.gguf").read_bytes())
    (tmp_path / "mine.gguf").write_bytes(data)
    with pytest.raises(ValueError, match=r"mine\.gguf") as caught:
        gguf_header(tmp_path / "mine.gguf")
    assert said in str(caught.value)


def test_a_folder_and_a_part_of_a_file_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"is a folder; `source: gguf` takes one .gguf file"):
        gguf_header(tmp_path)
    writer = gguf.GGUFWriter(str(tmp_path / "part.gguf"), "llama")
    writer.add_uint16("split.count", 3)
    writer.add_tensor("a", np.zeros(8, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ValueError, match="is one of 3 parts; join them"):
        gguf_header(tmp_path / "part.gguf")
