"""Static word embeddings: a vector for each piece of a vocabulary. A text's is the mean of its pieces' vectors, as
WordLlama (Miller 2024) and other models of its kind pool them.

V pieces of the vocabulary, D dimensions, N texts.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

VECTORS, TOKENIZER = "embeddings.safetensors", "tokenizer.json"
SPACE = "\u2581"  # what stands for a space in a piece
UNMERGED = 0xFFFFFFFF


class WordEmbeddings:
    """Vectors of a vocabulary, and how texts are cut into its pieces."""

    def __init__(self, folder: str, dimensions: int):
        """folder: as `fetching_embeddings.py` writes it; dimensions: the first ones are taken.

        Raises ValueError where the vectors have fewer, or the tokenizer works in another way than the page, which does
        the same to what is searched for: bytes for what the vocabulary lacks, spaces as parts of pieces, no cutting
        into words before.
        """
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        (vectors_VD,) = load_file(f"{folder}/{VECTORS}").values()
        if vectors_VD.shape[1] < dimensions:
            raise ValueError(
                f"atlas.semantic_search.dimensions is {dimensions}, but there are {vectors_VD.shape[1]}; lower it"
            )
        self.vectors_VD: NDArray[np.float32] = vectors_VD[:, :dimensions].astype(np.float32)
        said = json.loads(Path(folder, TOKENIZER).read_text())
        _check_tokenizer(said, len(vectors_VD))
        vocabulary: dict[str, int] = said["model"]["vocab"]
        self.pieces = sorted(vocabulary, key=lambda piece: vocabulary[piece])
        merges = [one if isinstance(one, list) else one.split(" ") for one in said["model"]["merges"]]
        # Of each piece the first merge that makes it: the lower, the sooner two neighbours become it.
        self.ranks_V = np.full(len(self.pieces), UNMERGED, np.uint32)
        for rank, (left, right) in reversed(list(enumerate(merges))):
            self.ranks_V[vocabulary[left + right]] = rank
        self._tokenizer = Tokenizer.from_file(f"{folder}/{TOKENIZER}")
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokenizer.encode_special_tokens = True  # a text that has one in it is but a text

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Numbers of the pieces that texts are cut into."""
        return [one.ids for one in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (N, D) of texts; 0 for an empty one."""
        from scipy.sparse import csr_matrix

        ids = self.ids(texts)
        lengths_N = np.array([len(one) for one in ids], np.int64)
        flat = np.array([i for one in ids for i in one], np.int64)
        ends = np.concatenate([[0], lengths_N.cumsum()])
        counts_NV = csr_matrix((np.ones(len(flat), np.float32), flat, ends), (len(ids), len(self.pieces)))
        pieces_N1 = np.maximum(lengths_N, 1)[:, None].astype(np.float32)
        vectors_ND: NDArray[np.float32] = (counts_NV @ self.vectors_VD) / pieces_N1
        return vectors_ND


def _check_tokenizer(said: dict[str, Any], size: int) -> None:
    """Raises ValueError where a tokenizer's file says what the page does not do."""
    model, normalizer = said["model"], said["normalizer"] or {}
    steps = normalizer.get("normalizers", [normalizer])
    does = {
        "a model other than byte-pair encoding with bytes to fall back on": model["type"] != "BPE"
        or not model["byte_fallback"],
        "words cut before they are encoded": said["pre_tokenizer"] is not None,
        "a normalizer other than spaces as parts of pieces": steps
        != [
            {"type": "Prepend", "prepend": SPACE},
            {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
        ],
        f"{len(model.get('vocab', ()))} pieces for {size} vectors": len(model.get("vocab", ())) != size,
    }
    if found := [words for words, done in does.items() if done]:
        raise ValueError(f"atlas.semantic_search.tokenizer has {found[0]}: the page cannot do that; take another one")
