"""Models that have learnt nothing: subjects of control runs."""

from neuron_descriptions.common.storage import whole
from neuron_descriptions.models.loading import check_folder, load_tokenizer


def write_random_model(base: str, seed: int, output: str) -> None:
    """Write a model folder of a base's shape and tokenizer, its weights drawn as before training, bfloat16."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    check_folder(base)
    torch.manual_seed(seed)
    shape = AutoConfig.from_pretrained(base, local_files_only=True, trust_remote_code=False)
    model = AutoModelForCausalLM.from_config(shape, trust_remote_code=False)
    with whole(output) as part:
        model.to(torch.bfloat16).save_pretrained(part)
        load_tokenizer(base).save_pretrained(part)
