"""Search by meaning: vectors of all descriptions and of a vocabulary's pieces, packed for the page, which embeds what
is searched for and compares.

V pieces of the vocabulary, D dimensions, N rows.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from neuron_descriptions.atlas.further import read_atlas
from neuron_descriptions.atlas.packing import pack, script
from neuron_descriptions.common.logs import logger, progress
from neuron_descriptions.common.storage import whole
from neuron_descriptions.models.embeddings import WordEmbeddings

LARGEST = 127


def in_steps(vectors_ND: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """(whole numbers (N, D), size of their step (N)) of vectors: 127 is the largest number of each."""
    step_N = np.abs(vectors_ND).max(1) / LARGEST
    steps_ND = np.round(vectors_ND / np.where(step_N > 0, step_N, 1)[:, None]).astype(np.int8)
    return steps_ND, step_N.astype(np.float32)


def pack_vocabulary(embeddings: WordEmbeddings) -> bytes:
    """The pieces, the ranks by which neighbours are merged, and the vectors, for pages/semantic.js."""
    steps_VD, step_V = in_steps(embeddings.vectors_VD)
    text = b"\xff".join(piece.encode() for piece in embeddings.pieces)  # a byte that UTF-8 never has
    arrays: dict[str, np.ndarray] = {"pieces": np.frombuffer(text, np.uint8), "ranks": embeddings.ranks_V}
    return pack({}, arrays | {"step": step_V, "vectors": steps_VD.ravel()})


def pack_descriptions(embeddings: WordEmbeddings, descriptions: Sequence[str | None]) -> bytes:
    """A layer's rows in the atlas's order, 0 where there is no description. Only directions are compared, so that steps
    need no size."""
    steps_ND, _ = in_steps(embeddings.embed([text or "" for text in descriptions]))
    return pack({}, {"vectors": steps_ND.ravel()})


def write_semantic(atlas: str, folder: str, dimensions: int, outputs: Mapping[str, Any]) -> None:
    """Write what the atlas's page loads to search by meaning. folder: of the embeddings; outputs: vocabulary, and rows:
    layer -> file. Raises as `WordEmbeddings` does."""
    embeddings, table = WordEmbeddings(folder, dimensions), read_atlas(atlas)[0]
    with whole(outputs["vocabulary"]) as part:
        part.write_bytes(script("atlasRows", pack_vocabulary(embeddings)))
    files: dict[int, str] = outputs["rows"]
    for layer, file in progress(files.items(), len(files), "layers"):
        descriptions = table.filter(pc.equal(table["layer"], layer))["description"].to_pylist()
        with whole(file) as part:
            part.write_bytes(script("atlasRows", pack_descriptions(embeddings, descriptions)))
    logger.info("%d rows in %d dimensions, %d pieces", len(table), dimensions, len(embeddings.pieces))
