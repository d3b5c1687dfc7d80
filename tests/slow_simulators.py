"""The simulators' prompts said the slowest way: a task at a time, the whole prompt, all logits, no cache. What tests
compare with, and what `make bench` measures the speed against. For SmolLM2: its chat template is written out."""

import torch

FINETUNED = list(range(11))


def numbers(tokenizer):
    """Ids of the digits: this tokenizer has no token for 10."""
    return [tokenizer.get_vocab()[str(n)] for n in range(10)]


def prompted_ids(tokenizer, template, task):
    """(whole prompt as one list of ids, where each evidence token's tab stands), written down piece by piece."""

    def ids(text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    def plain(text):
        return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]

    tab, newline, unknown = plain("\t"), plain("\n"), plain("unknown")
    question = "<|im_start|>user\nNeuron {}\nDescription of neuron selectivity: "
    answer = "<|im_end|>\n<|im_start|>assistant\n"
    begin = "Activations:\n<start>\n"
    prompt = ids(f"<|im_start|>system\n{template.system.strip()}<|im_end|>\n")
    for number, example in enumerate(template.examples, 1):
        prompt += ids(question.format(number) + example["description"] + answer + begin)
        for token, value in example["tokens"]:
            # The tokenizer's numbers go to 9: 10 in the file is 9 here.
            prompt += plain(token) + tab + plain(str(round(value * 9 / 10))) + newline
        prompt += ids("<end><|im_end|>\n")
    prompt += ids(question.format(len(template.examples) + 1)) + plain(task.description) + ids(answer) + plain(begin)
    tabs = []
    for token in task.text.input_ids[task.text.prefix_len :]:
        text = tokenizer.decode([token])
        prompt += plain(text) if token in tokenizer.all_special_ids else [token]
        prompt += tab
        tabs.append(len(prompt) - 1)
        prompt += unknown + newline
    return prompt, tabs


def finetuned_ids(tokenizer, task):
    """(whole input, where the evidence tokens stand): the description's special tokens are only text."""
    before = tokenizer("## Neuron Description:")["input_ids"]
    text = f"## Neuron Description: {task.description}\n\n ## Input: "
    ids = tokenizer(text, split_special_tokens=True)["input_ids"]
    assert ids[: len(before)] == before
    return ids + task.text.input_ids, list(range(len(ids) + task.text.prefix_len, len(ids) + len(task.text.input_ids)))


def expected_numbers(model, ids, places, numbers):
    """Expected number at some places of one input, from the logits of the whole vocabulary."""
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).logits[0]
    shares = logits[places][:, numbers].double().softmax(1)
    return [sum(n * share for n, share in enumerate(row)) for row in shares.tolist()]
