"""The corpus: documents divided among the splits, cut in windows, tokenized."""

import json
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice, pairwise
from operator import itemgetter
from typing import Any

import pyarrow as pa

from neuron_descriptions.common.logs import logger, progress
from neuron_descriptions.common.storage import read_table, write_table
from neuron_descriptions.common.streams import generator, key
from neuron_descriptions.common.threads import ahead
from neuron_descriptions.common.vocabulary import Document
from neuron_descriptions.corpus.tables import CORPUS, DOCUMENTS
from neuron_descriptions.corpus.templates import Rendered, Template, Tokens
from neuron_descriptions.models.loading import TODAY, load_tokenizer, prints_the_date, tokenizer_fingerprint
from neuron_descriptions.models.subjects import check_subject

# A window shorter than this share of the full length is left out.
SHORTEST = 0.5


# --- windows -----------------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class Cut:
    """How documents become sequences."""

    seq_len: int
    chat_prefix: bool = True
    windows_per_document: int | None = None


@dataclass(slots=True, frozen=True)
class Mixture:
    """Documents by source, and how sequences of a subject are made of them."""

    documents: dict[str, str]
    """Source -> table of its documents."""
    ratios: dict[str, float]
    """Source -> its share."""
    model_folder: str
    """The subject's: its tokenizer and template."""
    cut: Cut
    seed: int

    def template(self) -> Template:
        """The subject's template. Raises ValueError where the subject cannot read sequences of this length."""
        check_subject(self.model_folder, seq_len=self.cut.seq_len, module="any")  # the rest is the harvest's to check
        return Template(load_tokenizer(self.model_folder), self.cut.chat_prefix)


@dataclass(slots=True)
class Window:
    """A sequence in the making: `prefix` is the template's, `ids` the evidence."""

    order: int
    document: int
    prefix: list[int]
    ids: list[int]


def windows(document: Document, template: Template, cut: Cut, seed: int) -> list[Window]:
    """Windows of at most seq_len tokens over a whole document: cut without overlap from a random offset on;
    of more than are taken of one document, those with the lowest random order."""
    rendered = template.rendered(document)
    return _windows(document_fingerprint(document), rendered, template.tokens(rendered), template, cut, seed)


def _windows(
    fingerprint: int, rendered: Rendered, tokens: Tokens, template: Template, cut: Cut, seed: int
) -> list[Window]:
    ids, roles = tokens
    is_prose = rendered.pieces is None
    prefixes = [template.prose_prefix] if is_prose else list(template.turn_prefix.values())
    room = cut.seq_len - max(map(len, prefixes))
    if room < 4:
        instead = " or set corpus.chat_prefix: false" if is_prose and len(template.prose_prefix) > 1 else ""
        raise ValueError(
            f"corpus.seq_len {cut.seq_len} leaves {max(room, 0)} tokens after the template's prefix of"
            f" {cut.seq_len - room}; raise it{instead}"
        )
    first = next((i for i, role in enumerate(roles) if role), 0)
    length = len(ids) - first
    offset = int(generator(seed, "offset", fingerprint).integers(room)) if length > room else 0
    cuts = [0, *range(offset or room, length, room), length]
    found = []
    for start, end in pairwise(cuts):
        start, end = first + start, first + end
        prefix = template.prose_prefix
        if roles:
            # Begin with a turn's content: the prefix then says whose it is.
            start = next((i for i in range(start, end) if roles[i]), end)
            if start < end:
                prefix = template.turn_prefix[roles[start] or ""]
        if end - start >= SHORTEST * room:
            order = key(seed, "window", fingerprint, start)
            found.append(Window(order, fingerprint, prefix, ids[start:end]))
    return sorted(found, key=lambda w: w.order)[: cut.windows_per_document]


def cut_documents(
    mixture: Mixture, template: Template, threads: int = 1, without: Container[int] = ()
) -> Iterator[tuple[str, int, list[Window]]]:
    """Source, fingerprint and windows of every document that `read_documents` gives, in its order. threads: how many
    tokenize, beside this one, which renders and cuts; 1: this one does all. without: fingerprints of documents that are
    left out."""
    documents = (read for read in read_documents(mixture, template) if read[1] not in without)
    # Source by source: what is prose and what is not must not be tokenized at once.
    for name, of_source in groupby(documents, key=itemgetter(0)):
        rendered = ((fingerprint, template.rendered(document)) for _, fingerprint, document in of_source)
        tokenized = ahead(lambda pair: template.tokens(pair[1]), rendered, threads)
        for (fingerprint, text), tokens in tokenized:
            yield name, fingerprint, _windows(fingerprint, text, tokens, template, mixture.cut, mixture.seed)


def document_fingerprint(document: Document) -> int:
    """63 bits of a hash of the content: equal for exact duplicates."""
    return key(document if isinstance(document, str) else json.dumps(document)) >> 1


def shares(n: int, ratios: dict[str, float]) -> dict[str, int]:
    """n divided by ratio to the unit (largest remainders, then names)."""
    exact = {name: n * ratio / sum(ratios.values()) for name, ratio in ratios.items()}
    counts = {name: int(value + 1e-9) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (counts[name] - exact[name], name))
    for name in by_remainder[: n - sum(counts.values())]:
        counts[name] += 1
    return counts


def build_corpus(mixture: Mixture, sequences: dict[str, int], outputs: dict[str, str], threads: int = 1) -> None:
    """Write one corpus table per split.

    sequences, outputs: by split. threads: as `cut_documents` takes it. A document belongs to one split, by its hash;
    exact duplicates, of documents and of sequences, are dropped wherever they are. Raises ValueError that names a
    source that cannot give its share, or where the subject cannot read sequences of this length.
    """
    template, ratios, seed = mixture.template(), mixture.ratios, mixture.seed
    pools: Pools = {(s, n): [] for s in sequences for n in ratios}
    for name, fingerprint, found in cut_documents(mixture, template, threads):
        pools[_split_of(fingerprint, sequences, seed), name] += found
    template.left_out.log("corpus")
    chosen = _choose(pools, ratios, sequences)
    metadata = about_tokens(template.tokenizer) | template.left_out.metadata()
    for split, n in sequences.items():
        rows = [(name, window) for name in ratios for window in chosen[split, name]]
        order = generator(seed, "order", split).permutation(len(rows))
        write_sequences([rows[i] for i in order], metadata, outputs[split])
        counts = ", ".join(f"{name} {len(chosen[split, name])}" for name in ratios)
        logger.info("%s: %d sequences (%s)", split, n, counts)


def read_documents(mixture: Mixture, template: Template) -> Iterator[tuple[str, int, Document]]:
    """Source, fingerprint and content of every document; exact duplicates are dropped."""
    seen: set[int] = set()
    for name in mixture.ratios:
        table = read_table(mixture.documents[name], DOCUMENTS)
        if not template.has_chat and table["messages"].null_count < len(table):
            logger.warning("%s: the subject has no chat template; conversations are read as plain text", name)
        texts = (row["text"] or row["messages"] for row in table.to_pylist())
        for document in progress(texts, len(table), f"documents of {name}"):
            fingerprint = document_fingerprint(document)
            if fingerprint not in seen:
                seen.add(fingerprint)
                yield name, fingerprint, document


def about_tokens(tokenizer: Any) -> dict[str, str]:
    """Metadata of a corpus table: what its token ids depend on beyond the text."""
    dated = {"template_date": TODAY.isoformat()} if prints_the_date(tokenizer) else {}
    if dated:
        logger.info("the chat template prints the date; it is told that today is %s", TODAY)
    return {"tokenizer": tokenizer_fingerprint(tokenizer), **dated}


def write_sequences(rows: list[tuple[str, Window]], metadata: dict[str, str], path: str) -> None:
    """Write windows, each with the name of its source, as a corpus table, in their order."""
    evidence = [len(window.ids) for _, window in rows]
    facts = {"tokenizer": metadata["tokenizer"], "tokens": str(sum(evidence)), "longest": str(max(evidence))}
    schema = CORPUS.with_metadata(facts | metadata)
    write_table(pa.Table.from_pylist([_row(i, *row) for i, row in enumerate(rows)], schema=schema), path)


Pools = dict[tuple[str, str], list[Window]]  # by split and source


def _choose(pools: Pools, ratios: dict[str, float], sequences: dict[str, int]) -> Pools:
    """Each source's share of each split, no sequence twice. Raises ValueError where a source is exhausted."""
    seen: set[int] = set()
    chosen: Pools = {}
    shortest, worst = 1.0, None
    for split, n in sequences.items():
        for name, count in shares(n, ratios).items():
            ordered = sorted(pools[split, name], key=lambda w: w.order)
            found = list(islice(distinct(ordered, seen), count))
            chosen[split, name] = found
            if len(found) < shortest * count:
                shortest, worst = len(found) / count, (name, split, len(found), count)
    if worst is None:
        return chosen
    name, split, found_n, count = worst
    # All splits by one factor, since documents are divided in their proportion; and a little less, as that rounds.
    fewer = {split: int(0.9 * shortest * n) for split, n in sequences.items()}
    advice = f"Lower its ratio, or give it more {'documents' if found_n else 'or longer documents'}"
    if min(fewer.values()) > 0:
        advice += "; or lower corpus.sequences: " + ", ".join(f"{s} to {n}" for s, n in fewer.items())
    raise ValueError(
        f"corpus.sources.{name} is exhausted: it can give {found_n} sequences to split {split}, {count} are wanted."
        f" {advice}"
    )


def _split_of(fingerprint: int, sequences: dict[str, int], seed: int) -> str:
    place = key(seed, "split", fingerprint) / 2**64 * sum(sequences.values())
    for split, n in sequences.items():
        place -= n
        if place < 0:
            return split
    return split


def distinct(candidates: Iterable[Window], seen: set[int]) -> Iterator[Window]:
    """Windows whose tokens were not seen before; each that is asked for counts as seen."""
    for window in candidates:
        fingerprint = key(window.ids)
        if fingerprint not in seen:
            seen.add(fingerprint)
            yield window


def _row(seq_id: int, source: str, window: Window) -> dict[str, Any]:
    return {
        "seq_id": seq_id,
        "source": source,
        "document": window.document,
        "prefix_len": len(window.prefix),
        "input_ids": window.prefix + window.ids,
    }
