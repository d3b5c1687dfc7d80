"""`device_map: auto`: a subject whose layers do not all fit gives the same state, byte for byte."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import torch

from gpu.harvest import Subject, nothing
from gpu.shapes import VOCABULARY, Shape, device, free, random_llama, seconds_of
from neuron_descriptions.models.loading import load_model


def measure(shape: Shape, scratch: Path) -> Iterator[dict[str, float]]:
    """The share of layers that were spilled, the spilled model's speed over the whole one's, and the tensors of the
    state that differ: none may. Raises AssertionError where one does, or nothing was spilled."""
    small = replace(shape, llama=shape.llama | {"vocab_size": VOCABULARY + 48})
    folder = str(scratch / "model")
    model = random_llama(small, head=False, layers=shape.spread_layers)
    model.save_pretrained(folder)
    weights = sum(parameter.nbytes for parameter in model.parameters())
    del model
    free()
    threads = torch.get_num_threads()
    whole = Subject(load_model(folder, "bfloat16", head=False, threads=threads), small)
    first: int | str = 0 if device().type == "cuda" else "cpu"
    room = {"cpu": 64 * 10**9} | {first: weights * 9 // 10}
    with patch("neuron_descriptions.models.loading._room", return_value=room):
        model = load_model(folder, "bfloat16", head=False, threads=threads, device_map="auto")
    spilled = Subject(model, small)
    # The map names what lies together: a layer, or the whole stack.
    found = model.hf_device_map
    places = [found.get(f"layers.{i}", found.get("layers")) for i in range(shape.spread_layers)]
    batches = whole.batches(shape.published_batch, shape.batches)
    states, seconds = [], []
    for subject in (whole, spilled):
        kept = subject.harvest()
        subject.run(batches[:1], nothing)  # warm up
        seconds.append(seconds_of(lambda s=subject, k=kept: s.run(batches, k.take)))
        states.append(kept.tensors())
        del kept
    differing = [name for name in states[0] if not torch.equal(states[0][name], states[1][name])]
    elsewhere = sum(place != first for place in places)
    yield {
        "layers_spilled": float(elsewhere),
        "layers": float(shape.spread_layers),
        "speed_over_whole": seconds[0] / seconds[1],
        "tensors_that_differ": float(len(differing)),
        "tensors": float(len(states[0])),
    }
    assert elsewhere, f"nothing was spilled: {found}"
    assert not differing, f"a spilled model's state differs: {', '.join(differing)}"
