"""The section `features`: its forms, what is said of wrong ones, and that runs without it track nothing of it."""

import pytest

from conftest import changed, demo_config
from neuron_descriptions.config.base import restored, tracked
from neuron_descriptions.config.features import Features, MlpNeuronFeatures
from neuron_descriptions.config.sections import load_config
from neuron_descriptions.run.selection import select_neurons

LATENTS = {"kind": "autoencoder", "path": "sae/layer-{layer}", "count": 5, "hook": "residual_out"}


def configured(features: dict | None, **changes):
    config = demo_config() if features is None else changed(demo_config(), features=features)
    return load_config(changed(config, **changes))


def test_a_run_of_neurons_tracks_nothing_of_it_and_others_come_back_from_params():
    assert tracked(configured(None).features) == {} and "features" not in tracked(configured(None))
    assert restored(Features, {}) == MlpNeuronFeatures()
    for section in (LATENTS, LATENTS | {"kind": "transcoder"}, {"kind": "attention_heads", "count": 9},
                    {"kind": "directions", "path": "p.npy", "count": 2}):  # fmt: skip
        features = configured(section).features
        assert restored(Features, tracked(features)) == features and features.kind == section["kind"]


def test_the_number_of_features_is_the_source_s_and_the_width_stays_the_model_s():
    everything = {"layers": [2], "indices": "all"}
    assert select_neurons(configured(LATENTS, neurons=everything)) == {2: [0, 1, 2, 3, 4]}
    config = configured(LATENTS)
    assert (config.features_per_layer, config.subject.neurons_per_layer) == (5, 1536)
    assert configured(None).features_per_layer == 1536
    with pytest.raises(ValueError, match=r"neurons\.indices: 5 is out of range; the subject has neurons 0\.\.4"):
        select_neurons(configured(LATENTS, neurons={"layers": [2], "indices": [5]}))


def test_which_kinds_are_never_negative():
    assert configured(LATENTS).features.one_sided
    assert not configured(None).features.one_sided
    assert configured({"kind": "attention_heads", "count": 9}).features.one_sided
    assert not configured({"kind": "attention_heads", "count": 9, "path": "p.npy"}).features.one_sided


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ({"kind": "neurones"}, r"features: `kind` is neither mlp_neurons, .* nor attention_heads"),
        ({"kind": "autoencoder", "path": "x", "count": 3}, r"features\.hook: it is missing, and required"),
        (LATENTS | {"hook": "residual"}, r"features\.hook: 'residual' is neither one of residual_in, .* nor a module"),
        (LATENTS | {"hooks": 1}, r"features\.hooks: unknown key; did you mean `hook`"),
        (LATENTS | {"count": 0}, r"features\.count: 0 must be"),
        (LATENTS | {"path": "sae/{l}"}, r"features\.path: .*has \{ \} in it"),
        (LATENTS | {"repo": "own/latents"}, r"features: `repo` is given without `revision`"),
        (LATENTS | {"repo": "a/b", "revision": "c", "path": "/x"}, r"path '/x' is a path on disk; with `repo`"),
        (LATENTS | {"format": "pickle"}, r"features\.format: 'pickle' is not one of 'auto', 'saelens'"),
    ],
)
def test_what_is_said_of_a_wrong_section(features, said):
    with pytest.raises(ValueError, match=said):
        configured(features)
