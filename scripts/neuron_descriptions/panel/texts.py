"""The panel's text: sequences of documents that no split of the corpus touches."""

from collections.abc import Iterator

import pyarrow.compute as pc

from neuron_descriptions.common.logs import logger
from neuron_descriptions.common.storage import read_table
from neuron_descriptions.common.streams import generator, key
from neuron_descriptions.corpus.building import (
    Mixture,
    Window,
    about_tokens,
    cut_documents,
    distinct,
    shares,
    write_sequences,
)
from neuron_descriptions.corpus.tables import CORPUS

Pool = dict[tuple[str, str], list[Window]]  # by panel and source


def build_panel(mixture: Mixture, corpora: list[str], tokens: int, outputs: dict[str, str], threads: int = 1) -> None:
    """Write one corpus table per panel, of documents that none of `corpora` has a sequence of, and no other panel.

    A source gives its share of the tokens. tokens: evidence tokens of each panel; at most one sequence of each source
    more. outputs: by panel. threads: as `cut_documents` takes it. Raises ValueError that says how much text there is,
    where that is less than a panel takes, or where the subject cannot read sequences of this length.
    """
    template, ratios, seed = mixture.template(), mixture.ratios, mixture.seed
    used = {i for path in corpora for i in pc.unique(read_table(path, CORPUS)["document"]).to_pylist()}
    found: dict[str, dict[int, list[Window]]] = {name: {} for name in ratios}
    for name, fingerprint, cut in cut_documents(mixture, template, threads, without=used):
        found[name][fingerprint] = cut
    template.left_out.log("panel")
    chosen = _choose({name: _deal(found[name], list(outputs), seed) for name in ratios}, ratios, tokens)
    metadata = about_tokens(template.tokenizer) | {"seed": str(seed)} | template.left_out.metadata()
    for panel, output in outputs.items():
        rows = [(name, window) for name in ratios for window in chosen[panel, name]]
        order = generator(seed, "order", panel).permutation(len(rows))
        write_sequences([rows[i] for i in order], metadata, output)
        counts = ", ".join(
            f"{name} {_tokens(chosen[panel, name])} of {len({w.document for w in chosen[panel, name]})} documents"
            for name in ratios
        )
        logger.info("%s: %d sequences (tokens: %s)", panel, len(rows), counts)


def _deal(found: dict[int, list[Window]], panels: list[str], seed: int) -> dict[str, list[Window]]:
    """Windows of each panel: documents, in an order of their own, go to the panel that has the fewest tokens yet."""
    dealt: dict[str, list[Window]] = {panel: [] for panel in panels}
    tokens = dict.fromkeys(panels, 0)
    for fingerprint in sorted(found, key=lambda fingerprint: key(seed, "panel", fingerprint)):
        panel = min(panels, key=lambda panel: tokens[panel])
        dealt[panel] += found[fingerprint]
        tokens[panel] += _tokens(found[fingerprint])
    return dealt


def _choose(dealt: dict[str, dict[str, list[Window]]], ratios: dict[str, float], tokens: int) -> Pool:
    """Each source's share of each panel, no sequence twice. Raises ValueError where a source has less."""
    seen: set[int] = set()
    chosen: Pool = {}
    missing: list[tuple[float, str, str, int, int]] = []
    for name, share in shares(tokens, ratios).items():
        for panel, candidates in dealt[name].items():
            ordered = distinct(sorted(candidates, key=lambda window: window.order), seen)
            chosen[panel, name] = list(_enough(ordered, share))
            there = _tokens(chosen[panel, name])
            if there < share:
                missing.append((there / share, name, panel, there, share))
    if not missing:
        return chosen
    least, name, panel, there, share = min(missing)
    fewer = int(0.95 * least * tokens)
    lower = f"lower panel.tokens to {fewer:,}, " if fewer else ""
    raise ValueError(
        f"panel.tokens: {tokens:,} need {share:,} of corpus.sources.{name} for {panel}, but its documents that no other"
        f" split touches have {there:,}: {lower}lower corpus.sequences, give it more documents, or set panel: null"
    )


def _enough(ordered: Iterator[Window], tokens: int) -> Iterator[Window]:
    """As many of these windows as have so many tokens together."""
    while tokens > 0 and (window := next(ordered, None)):
        tokens -= len(window.ids)
        yield window


def _tokens(chosen: list[Window]) -> int:
    return sum(len(window.ids) for window in chosen)
