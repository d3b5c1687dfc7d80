"""Import of published exemplars from S3: processor time beside that of downloading the same bytes with boto3 alone."""

import cProfile
import pstats
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests/bench"), str(ROOT / "tests"), str(ROOT / "scripts")]

SECTION = "import"
LAYER, NEURONS, K, RANDOM, SEQ_LEN = 0, 224, 100, 10, 95
ROUNDS = 3


def measure(scratch: Path, profile: bool = False) -> dict[str, float]:
    """Half a chunk of neurons at the published sizes; the median of a few rounds, plain and import in turn.

    The server is another process and counts for neither. Plain is `download_file`, boto3's own way, of objects that
    hold just the bytes that the import fetches."""
    from common import fetched
    from neuron_descriptions.corpus.templates import Template
    from neuron_descriptions.imports.listing import Wanted, list_exemplars
    from neuron_descriptions.imports.published import import_exemplars
    from neuron_descriptions.models.loading import load_tokenizer
    from published_folder import write_large
    from s3_server import S3Server

    subject, _ = fetched()
    prefix = Template(load_tokenizer(subject)).prose_prefix
    folder = scratch / "published"
    write_large(folder, LAYER, NEURONS, K, RANDOM, SEQ_LEN, prefix)
    arrays = list(folder.rglob("*.npy"))
    plain, imported = [], []
    with S3Server(scratch / "server") as server:
        server.upload(folder, "open", "published")
        place = server.place(prefix="published", anonymous=True)
        wanted = Wanted(NEURONS, None, K, RANDOM, SEQ_LEN)
        listing = str(scratch / "listing.json")
        list_exemplars(place, LAYER, wanted, subject, listing)
        profiler = cProfile.Profile()
        outputs = {split: str(scratch / f"{split}.parquet") for split in ("train", "valid", "test")}
        for _ in range(ROUNDS):
            client = server.client()
            start = time.process_time()
            for path in arrays:
                client.download_file("open", f"published/{path.relative_to(folder).as_posix()}", str(scratch / "one"))
            plain.append(time.process_time() - start)
            start = time.process_time()
            if profile:
                profiler.enable()
            import_exemplars(
                place, listing, LAYER, list(range(NEURONS)), outputs,
                str(scratch / "exemplars.parquet"), str(scratch / "statistics.parquet"),
            )  # fmt: skip
            profiler.disable()
            imported.append(time.process_time() - start)
    if profile:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(25)
    median = sorted(plain)[ROUNDS // 2], sorted(imported)[ROUNDS // 2]
    size = sum(path.stat().st_size for path in arrays) / 1e6
    tables = sum(path.stat().st_size for path in scratch.glob("*.parquet")) / 1e6
    return {
        "ratio_to_plain_download": median[1] / median[0],
        "plain_download_seconds": median[0],
        "import_seconds": median[1],
        "megabytes_fetched": size,
        "megabytes_written": tables,
    }


if __name__ == "__main__":
    import json
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), profile="--profile" in sys.argv), indent=1))
