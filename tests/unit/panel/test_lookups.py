"""Look-ups against a plain computation of each, token by token; planted features get the type that was planted."""

from collections import defaultdict

import numpy as np
import pyarrow.parquet as pq
import pytest

from neuron_descriptions.panel.lookups import PRIOR, Lookups
from neuron_descriptions.panel.reading import Panel
from neuron_descriptions.panel.tables import NEURON_TYPES
from neuron_descriptions.panel.types import GAIN, LEAST, type_neurons, types_of
from planted_panels import VOCABULARY, two_panels

# What each planted feature follows, beside noise.
PLANTED = ("token", "bigram", "context", "position", "none", "context")


def tokens(rows):
    """(sequence, position, token before or None, token) of every evidence token."""
    for number, (prefix, ids) in enumerate(rows):
        for i in range(prefix, len(ids)):
            yield number, i, ids[i - 1] if i else None, ids[i]


def plant(rows, random):
    """Activations (6, N): of a token, of a pair of frequent tokens, of whole sequences, of the first positions, of
    nothing, and of a token and sequences at once, of which the sequences tell more."""
    table = random.normal(size=len(rows))
    found = []
    for number, position, before, token in tokens(rows):
        topic = table[number]
        found.append([
            token in (3, 17), (before, token) in ((0, 1), (1, 0), (2, 0)), topic, position < 6, 0,
            2 * topic + (token == 0),
        ])  # fmt: skip
    values_NI = np.array(found, dtype=float)
    return (values_NI + 0.2 * values_NI.std(0).max() * random.normal(size=values_NI.shape)).T


@pytest.fixture(scope="module")
def panels(tmp_path_factory):
    return two_panels(tmp_path_factory.mktemp("planted"), plant)


@pytest.fixture(scope="module")
def opened(panels):
    return [Panel(corpus, [acts]) for corpus, acts in panels.values()]


@pytest.fixture(scope="module")
def found(opened):
    fit, test = opened
    return Lookups(fit, test).correlations(fit.acts(2), test.acts(2))


def rows_of(panel):
    return [(s.prefix_len, s.input_ids) for s in panel.sequences]


def look_up(contexts, values, prior):
    """Expected value of a context: the mean of its values and PRIOR times the prior."""
    seen = defaultdict(list)
    for context, value in zip(contexts, values):
        seen[context].append(value)
    return lambda context: (sum(seen[context]) + PRIOR * prior(context)) / (len(seen[context]) + PRIOR)


CONTEXT = {
    "r_token": lambda t: t[3],
    "r_previous": lambda t: t[2],
    "r_position": lambda t: t[1],
    "r_bigram": lambda t: (t[2], t[3]),
}


@pytest.mark.parametrize("name", CONTEXT)
@pytest.mark.parametrize("feature", range(len(PLANTED)))
def test_a_look_up_is_what_it_is_token_by_token(opened, found, name, feature):
    fit, test = (list(tokens(rows_of(panel))) for panel in opened)
    values, true = (panel.acts(2)[feature].astype(float) for panel in opened)
    mean = values.mean()
    by_token = look_up([t[3] for t in fit], values, lambda token: mean)
    prior = (lambda pair: by_token(pair[1])) if name == "r_bigram" else lambda context: mean
    table = look_up([CONTEXT[name](t) for t in fit], values, prior)
    expected = np.corrcoef([table(CONTEXT[name](t)) for t in test], true)[0, 1]
    assert found[name][feature] == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("feature", range(len(PLANTED)))
def test_the_sequences_part_is_what_it_is_token_by_token(opened, found, feature):
    fit, test = (list(tokens(rows_of(panel))) for panel in opened)
    values, true = (panel.acts(2)[feature].astype(float) for panel in opened)
    by_token = look_up([t[3] for t in fit], values, lambda token: values.mean())
    rest = [value - by_token(t[3]) for t, value in zip(test, true)]
    others = []
    for i, t in enumerate(test):
        others.append(np.mean([rest[j] for j, u in enumerate(test) if u[0] == t[0] and j != i]))
    assert found["r_sequence"][feature] == pytest.approx(np.corrcoef(rest, others)[0, 1], abs=2e-5)


def test_planted_features_get_the_type_that_was_planted(panels, tmp_path):
    output = tmp_path / "types.parquet"
    corpora, files = ({panel: pair[i] for panel, pair in panels.items()} for i in (0, 1))
    type_neurons(corpora, files, 2, str(output))
    table = pq.read_table(output)
    assert table.schema.equals(NEURON_TYPES)
    rows = table.to_pylist()
    assert [(r["neuron"], r["sign"]) for r in rows[:3]] == [(10, "positive"), (10, "negative"), (11, "positive")]
    assert [r["type"] for r in rows] == [kind for kind in PLANTED for _ in range(2)]
    none = next(r for r in rows if r["type"] == "none")
    assert max(abs(none[name]) for name in ("r_token", "r_bigram", "r_previous", "r_position")) < 0.1


def test_a_feature_alone_has_the_figures_that_it_has_among_others(opened, found):
    fit, test = opened
    lookups = Lookups(fit, test)
    for some in ([0], [5], [1, 4], [4, 2, 3]):
        neurons = [10 + feature for feature in some]
        few = lookups.correlations(fit.acts(2, neurons), test.acts(2, neurons))
        assert all(few[name].tolist() == found[name][some].tolist() for name in found)


def test_turned_activations_have_the_same_correlations(opened, found):
    fit, test = opened
    turned = Lookups(fit, test).correlations(-fit.acts(2), -test.acts(2))
    for name in found:
        assert np.allclose(turned[name], found[name], atol=1e-6)


def test_a_constant_feature_has_no_correlation_and_no_type(tmp_path):
    panels = two_panels(tmp_path, lambda rows, random: np.full((1, sum(len(i) - p for p, i in rows)), 0.37), 10)
    corpora, files = ({panel: pair[i] for panel, pair in panels.items()} for i in (0, 1))
    type_neurons(corpora, files, 2, str(tmp_path / "types.parquet"))
    for row in pq.read_table(tmp_path / "types.parquet").to_pylist():
        assert row["type"] == "none" and row["r_token"] is None and row["r_sequence"] is None


def test_tokens_that_the_fitted_panel_lacks_are_told_its_mean(tmp_path):
    def only(some):
        return lambda rows, random: np.array([[1.0 * (t[3] in some) for t in tokens(rows)]])

    panels = two_panels(tmp_path, only(range(VOCABULARY)), 10)
    fit, test = (Panel(corpus, [acts]) for corpus, acts in panels.values())
    lookups = Lookups(fit, test)
    unseen = ~np.isin(test.ids_N, fit.ids_N)
    assert unseen.any()
    table = lookups.token.table(np.ones((fit.tokens, 1), np.float32), 0.25)
    assert np.all(table[lookups.token.code_M][unseen] == 0.25)


def figures(**changed):
    return {
        f"r_{name}": np.array([changed.get(name, 0.0)])
        for name in ("token", "bigram", "previous", "sequence", "position")
    }


@pytest.mark.parametrize(
    ("r", "kind"),
    [
        ({"token": np.sqrt(LEAST) + 1e-6}, "token"),
        ({"token": np.sqrt(LEAST) - 1e-6}, "none"),
        ({"token": 0.5, "bigram": np.sqrt(0.25 + GAIN) + 1e-6}, "bigram"),
        ({"token": 0.5, "bigram": np.sqrt(0.25 + GAIN) - 1e-6}, "token"),
        ({"token": 0.6, "bigram": 0.6, "sequence": 0.7}, "token"),  # 0.7^2 of what a token leaves is less
        ({"token": 0.5, "bigram": 0.5, "sequence": 0.7}, "context"),
        ({"position": -0.9}, "none"),
        ({"token": 0.4, "bigram": 0.4, "position": 0.5}, "position"),
        ({"token": float("nan"), "bigram": float("nan"), "position": 0.5}, "position"),
    ],
)
def test_a_type_is_what_tells_most(r, kind):
    assert types_of(figures(**r)).tolist() == [kind]
