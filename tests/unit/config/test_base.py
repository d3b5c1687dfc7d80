"""What rules track of a section: only what differs from the defaults, and the defaults' versions."""

import json
from typing import Any, ClassVar

import pytest
import yaml
from pydantic import ValidationError, create_model

from conftest import ROOT, changed, demo_config
from neuron_descriptions.config import reference
from neuron_descriptions.config.base import Section, renewed, restored, tracked
from neuron_descriptions.config.corpus import Corpus
from neuron_descriptions.config.descriptions import Descriptions, FewShot
from neuron_descriptions.config.exemplars import Exemplars
from neuron_descriptions.config.explainers import Explainer
from neuron_descriptions.config.scores import Scores
from neuron_descriptions.config.sections import Config, load_config
from neuron_descriptions.config.sources import spec_key
from neuron_descriptions.config.training import ExplainerTraining, Training

RUNS = sorted(p for p in (ROOT / "config").glob("*.yaml") if p.name != "null-descriptions.yaml")


@pytest.mark.parametrize("path", RUNS, ids=lambda p: p.name)
def test_a_run_is_restored_from_what_is_tracked_of_it(path):
    config = load_config(yaml.safe_load(path.read_text()))
    assert restored(Config, tracked(config)) == config
    for kind, section in ((Explainer, config.descriptions.explainer), (Exemplars, config.exemplars)):
        if section is None:  # no model is asked
            continue
        back = restored(kind, tracked(section))
        assert back == section and type(back) is type(section)


def test_what_is_tracked_is_what_differs():
    plain = load_config(demo_config())
    other = load_config(changed(demo_config(), descriptions__attempts=4, descriptions__few_shot={"count": 2}))
    rest = tracked(plain.descriptions, exclude=["explainer"])
    assert "attempts" not in rest and "few_shot" not in rest
    assert tracked(other.descriptions, exclude=["explainer"]) == rest | {"attempts": 4, "few_shot": {"count": 2}}
    assert tracked(other.descriptions, include=["attempts", "pool"]) == {"attempts": 4, "version": 3}
    assert list(tracked(other.descriptions)) == sorted(tracked(other.descriptions))


def test_a_value_that_is_said_is_the_value_that_is_not():
    """A run that spells a default out is the run that leaves it out."""
    said = load_config(changed(demo_config(), descriptions__attempts=3, scores__simulator__dtype="bfloat16"))
    assert tracked(said) == tracked(load_config(demo_config()))


class MoreShots(FewShot):
    """Solved examples, with a key that is new."""

    shuffle: bool = False
    """New."""


class MoreDescriptions(Descriptions):
    """Descriptions, with a key that is new and a section with one, and a section that is new."""

    few_shot: MoreShots = MoreShots()
    """As before."""
    patience: int = 7
    """New."""
    again: FewShot = FewShot()
    """New."""


@pytest.mark.parametrize("path", RUNS, ids=lambda p: p.name)
def test_a_new_key_with_its_default_is_not_tracked(path):
    now = load_config(yaml.safe_load(path.read_text())).descriptions
    raw = now.model_dump()
    later = MoreDescriptions.model_validate(raw)
    assert (later.patience, later.few_shot.shuffle) == (7, False)
    assert tracked(later) == tracked(now)
    assert restored(MoreDescriptions, tracked(now)) == later  # a job of the new code, from the old run's params
    assert tracked(MoreDescriptions.model_validate(raw | {"patience": 8})) == tracked(now) | {"patience": 8}


def test_a_new_key_of_a_source_fetches_nothing_anew():
    class Source(type(load_config(demo_config()).corpus.sources["sotu"])):  # type: ignore[misc]
        """With a new key."""

        encoding: str = "utf-8"
        """New."""

    sotu = load_config(demo_config()).corpus.sources["sotu"]
    assert spec_key(Source.model_validate(sotu.model_dump())) == spec_key(sotu)


class Second(FewShot):
    """Its defaults are others than they were."""

    version: ClassVar[int] = 2
    place: Any = "system"
    """Changed."""


class Holder(Section):
    """A section with a section whose default changed."""

    inner: Second = Second()
    """Changed inside."""
    named: dict[str, Second] = {}
    """Several."""


def test_a_version_is_tracked_and_comes_back_as_no_key():
    assert tracked(Holder()) == {"inner": {"version": 2}}
    several = Holder(named={"a": Second(count=1)})
    assert tracked(several) == {"inner": {"version": 2}, "named": {"a": {"count": 1, "version": 2}}}
    assert restored(Holder, tracked(several)) == several
    with pytest.raises(ValidationError, match="version"):
        Holder.model_validate({"version": 2})  # no key of a configuration


def test_a_section_whose_default_is_not_its_own_defaults_comes_back():
    class Odd(Section):
        """A default of this section is not what the inner section's are."""

        shots: FewShot = FewShot(count=3)
        """Three."""

    for odd in (Odd(), Odd(shots=FewShot()), Odd(shots=FewShot(count=4))):
        assert restored(Odd, tracked(odd)) == odd


def test_training_is_restored_from_params_without_its_base():
    """As the adapters of both kinds of training make their sections."""
    raw = demo_config()
    base = next(iter(raw["models"]))
    raw["training"] = {"base": base, "steps": 7, "devices": 2, "device_map": "auto", "second": {"steps": 3}}
    raw["explainer_training"] = {"base": base, "rank": 4}
    config = load_config(raw)
    params = tracked(config.training, exclude=["base", "rules", "devices"])
    assert params == {"steps": 7, "device_map": "auto", "second": {"steps": 3}}
    back = restored(Training, params, base=base)
    assert back.model_dump(exclude={"devices"}) == config.training.model_dump(exclude={"devices"})
    params = tracked(config.explainer_training, exclude=["base", "rounds", "devices"])
    assert restored(ExplainerTraining, params, base=base) == config.explainer_training
    shown = tracked(config.descriptions, exclude=["explainer", "prompt", "rivals", "concept_rules"])
    found = restored(Descriptions, shown, explainer={"model": base}).model_dump()
    left = config.descriptions.model_dump()
    assert {k: v for k, v in found.items() if k not in ("explainer", "prompt")} == {
        k: v for k, v in left.items() if k not in ("explainer", "prompt")
    }


def test_jobs_validate_what_they_are_given():
    config = load_config(demo_config())
    scores = tracked(config.scores, exclude=["simulator"])
    simulator = tracked(config.scores.simulator, exclude=["prompt"])
    assert restored(Scores, scores, simulator=simulator) == config.scores
    with pytest.raises(ValidationError, match="topp"):
        restored(Scores, scores | {"topp": 1}, simulator=simulator)
    with pytest.raises(ValidationError, match="ratios sum to"):
        restored(Corpus, tracked(config.corpus) | {"sources": {}})


# --- defaults that change ---


def test_defaults_are_recorded_and_none_changed_without_a_new_version():
    record = ROOT / "config/schemas/defaults.json"
    assert record.read_text() == reference.defaults(record), "run `make docs`"


def test_no_section_has_a_key_that_params_need():
    assert not [s.__name__ for s in reference.sections() if "version" in s.model_fields]


def section(version: int, **defaults: int) -> type[Section]:
    """A section of these defaults."""
    fields = {"__annotations__": {"version": ClassVar[int], **dict.fromkeys(defaults, int)}, "version": version}
    return type("Toy", (Section,), fields | defaults | {"__module__": __name__})


def test_a_changed_default_needs_a_new_version():
    record = json.loads(json.dumps(renewed({}, [section(1, least=1, most=5)])))
    assert record == {"Toy": {"version": 1, "defaults": {"least": 1, "most": 5}}}
    assert renewed(record, [section(1, least=1, most=5, more=2)])["Toy"]["defaults"]["more"] == 2
    assert renewed(record, [section(1, least=1)]) == {"Toy": {"version": 1, "defaults": {"least": 1}}}
    with pytest.raises(ValueError, match=r"the default of Toy\.most changed from 5 to 6.*ClassVar\[int\] = 2"):
        renewed(record, [section(1, least=1, most=6)])
    assert renewed(record, [section(2, least=1, most=6)])["Toy"] == {
        "version": 2,
        "defaults": {"least": 1, "most": 6},
    }


def test_a_section_s_version_is_no_change_of_those_that_it_stands_in():
    def outer(version, **fields):
        inner = create_model("Inner", __base__=Section, **{name: (int, value) for name, value in fields.items()})
        inner.version = version
        return create_model("Outer", __base__=Section, inner=(inner, inner()))

    record = json.loads(json.dumps(renewed({}, [outer(1, most=5)])))
    assert renewed(record, [outer(2, most=6)])["Outer"] == {"version": 1, "defaults": {"inner": {"version": 2}}}
    assert tracked(outer(2, most=6)()) == {"inner": {"version": 2}}


def test_scorers_are_off_and_untracked_by_default():
    plain = load_config(demo_config())
    assert plain.scores.scorers == {} and "scorers" not in tracked(plain.scores)
    judge = {"model": "smollm2-135m-instruct"}
    named = {"detection": {"kind": "detection", "judge": judge}, "read": {"kind": "simulated_detection"}}
    on = load_config(changed(demo_config(), scores__scorers=named))
    # As rules/common/scores.smk has it: what is scored by the simulator depends on no scorer.
    assert tracked(on.scores, exclude=["scorers"]) == tracked(plain.scores)
    assert restored(Scores, tracked(on.scores)) == on.scores
    assert tracked(on.scores)["scorers"]["read"] == {"kind": "simulated_detection"}
