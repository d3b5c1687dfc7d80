"""Files appear whole or not at all; tables keep every bit and refuse what is not theirs."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import ROOT
from neuron_descriptions.atlas.tables import ATLAS
from neuron_descriptions.common.storage import read_footer, read_parquet, read_table, whole, write_table
from neuron_descriptions.corpus.tables import CORPUS, DOCUMENTS
from neuron_descriptions.descriptions.tables import ACCOUNTS
from neuron_descriptions.harvest.tables import EXEMPLARS, STATISTICS
from neuron_descriptions.scores.tables import SCORES

# Every bit pattern of bfloat16 that is a number or an infinity, as float32: -0.0 and subnormals among them.
BF16 = (np.arange(2**16, dtype=np.uint32) << 16).view(np.float32)
BF16 = BF16[~np.isnan(BF16)]


def exemplars(values: np.ndarray, per_row: int = 32) -> pa.Table:
    """An exemplar table whose activations are the given float32 values, in order."""
    rows = [values[i : i + per_row] for i in range(0, len(values), per_row)]
    columns = {
        "split": ["train"] * len(rows),
        "layer": [3] * len(rows),
        "neuron": list(range(len(rows))),
        "sign": ["positive"] * len(rows),
        "kind": ["top"] * len(rows),
        "rank": [0] * len(rows),
        "seq_id": list(range(len(rows))),
        "peak": [row.max() for row in rows],
        "activations": rows,
        "gate": [None] * len(rows),
    }
    return pa.table(columns, schema=EXEMPLARS)


def bits(table: pa.Table, name: str) -> list[int]:
    """The bits of a float32 column, lists laid end to end."""
    column = table[name].combine_chunks()
    return (column.flatten() if pa.types.is_list(column.type) else column).to_numpy().view(np.uint32).tolist()


# --- tables ------------------------------------------------------------------------------------------


def test_bf16_floats_survive_to_the_bit(tmp_path):
    assert {0x80000000, 0x00010000, 0x7F800000, 0xFF800000} <= set(BF16.view(np.uint32).tolist())
    table = exemplars(BF16)
    write_table(table, tmp_path / "t.parquet")
    back = read_table(tmp_path / "t.parquet", EXEMPLARS)
    assert bits(back, "activations") == BF16.view(np.uint32).tolist()
    assert bits(back, "peak") == bits(table, "peak")
    assert back.drop_columns(["activations", "peak"]) == table.drop_columns(["activations", "peak"])


def test_float32_and_float64_survive_to_the_bit(tmp_path):
    rng = np.random.default_rng(0)
    floats = rng.integers(0, 2**32, 4096, dtype=np.uint32).view(np.float32)
    floats = floats[~np.isnan(floats)]
    write_table(exemplars(floats), tmp_path / "t.parquet")
    assert bits(read_table(tmp_path / "t.parquet", EXEMPLARS), "activations") == floats.view(np.uint32).tolist()

    doubles = np.array([-0.0, 5e-324, 1 / 3, np.pi * 1e300, -np.inf])
    columns = {field.name: [0] * 5 for field in STATISTICS} | {"split": ["test"] * 5, "mean": doubles, "std": doubles}
    write_table(pa.table(columns, schema=STATISTICS), tmp_path / "s.parquet")
    back = read_table(tmp_path / "s.parquet", STATISTICS)
    assert back["mean"].to_numpy().view(np.uint64).tolist() == doubles.view(np.uint64).tolist()


def test_nulls_and_empty_lists_survive(tmp_path):
    rows = [
        {"text": None, "messages": [{"role": "user", "content": "tschüß 日本 \u2028\x00"}]},
        {"text": "", "messages": None},
        {"text": None, "messages": []},
    ]
    table = pa.Table.from_pylist(rows, schema=DOCUMENTS)
    write_table(table, tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet", DOCUMENTS).to_pylist() == rows


def test_table_without_rows_survives(tmp_path):
    write_table(EXEMPLARS.empty_table(), tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet", EXEMPLARS) == EXEMPLARS.empty_table()


def test_real_conversations_survive_with_metadata(tmp_path, fetched):
    table = read_table(fetched["chitchat"], DOCUMENTS).replace_schema_metadata({"tokens": "12"})
    write_table(table, tmp_path / "t.parquet")
    back = read_table(tmp_path / "t.parquet", DOCUMENTS)
    assert back == table
    assert back.schema.metadata[b"tokens"] == b"12"


def test_filters_keep_only_their_rows(tmp_path):
    write_table(exemplars(BF16), tmp_path / "t.parquet")
    back = read_table(tmp_path / "t.parquet", EXEMPLARS, [("neuron", "in", [4, 7])])
    assert back["neuron"].to_pylist() == [4, 7]
    assert bits(back, "activations") == [
        *BF16[128:160].view(np.uint32).tolist(),
        *BF16[224:256].view(np.uint32).tolist(),
    ]


def test_equal_tables_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        write_table(exemplars(BF16), tmp_path / name / "t.parquet")
    assert (tmp_path / "a/t.parquet").read_bytes() == (tmp_path / "b/t.parquet").read_bytes()


@pytest.mark.parametrize("damage", ["cut", "garbage", "nothing", "flipped", "missing"])
def test_corrupt_table_is_named(tmp_path, damage):
    path = tmp_path / "chunk-0.parquet"
    write_table(exemplars(BF16), path)
    good = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        middle = len(good) // 2
        path.write_bytes(
            {
                "cut": good[:middle],
                "garbage": b"not a table at all\n" * 99,
                "nothing": b"",
                "flipped": good[:4] + bytes(~b & 255 for b in good[4:-999]) + good[-999:],
            }[damage]
        )
    with pytest.raises(ValueError, match="is not a readable Parquet file") as caught:
        read_table(path, EXEMPLARS)
    assert str(path) in str(caught.value)
    assert "run again" in str(caught.value)


def test_flipped_bit_is_never_read_as_data(tmp_path):
    """In pages, their headers, the footer with its facts, and the checksums themselves."""
    path = tmp_path / "t.parquet"
    table = exemplars(BF16[:640]).replace_schema_metadata({"tokens": "12"})
    write_table(table, path)
    good, whole_table = path.read_bytes(), read_table(path, EXEMPLARS)
    rng, refused = np.random.default_rng(0), 0
    places = [*rng.integers(0, len(good) * 8, 120), *range((len(good) - 8) * 8, len(good) * 8, 5)]
    for place in places:
        damaged = bytearray(good)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            back = read_table(path, EXEMPLARS)
        except ValueError:
            refused += 1
        else:  # the mark alone
            assert back.equals(whole_table, check_metadata=True)
    assert refused > 0.95 * len(places)


def test_flipped_bit_in_a_footer_is_never_a_fact(tmp_path):
    path = tmp_path / "t.parquet"
    write_table(exemplars(BF16[:640]).replace_schema_metadata({"tokens": "12"}), path)
    good = path.read_bytes()
    place = good.index(b"tokens") + 9  # the second digit
    assert good[place - 1 : place + 1] == b"12"
    path.write_bytes(good[:place] + b"3" + good[place + 1 :])
    with pytest.raises(ValueError, match=r"t\.parquet .*\(its bytes are not those that were written\)"):
        read_footer(path)


def test_pages_have_parquets_own_checksums(tmp_path):
    """For other readers; and a table that another wrote with them is verified."""
    path, values = tmp_path / "t.parquet", np.random.default_rng(0).random(1000)
    pq.write_table(pa.table({"values": values}), path, compression="none", use_dictionary=False,
                   write_page_checksum=True)  # fmt: skip
    good = path.read_bytes()
    place = good.index(values[500].tobytes())
    path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
    assert pq.read_table(path).num_rows == 1000
    with pytest.raises(OSError, match="CRC checksum verification failed"):
        read_parquet(path)

    write_table(pa.table({"values": values}), path)
    good = path.read_bytes()
    place = pq.read_metadata(path).row_group(0).column(0).data_page_offset + 200
    path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
    with pytest.raises(OSError, match="CRC checksum verification failed"):
        pq.read_table(path, page_checksum_verification=True)


@pytest.mark.parametrize(
    "schema", [ATLAS, SCORES, ACCOUNTS, STATISTICS], ids=["atlas", "scores", "accounts", "statistics"]
)
def test_tables_that_people_take_away_are_read_everywhere(tmp_path, schema):
    write_table(pa.Table.from_pylist([dict.fromkeys(schema.names)], schema=schema), tmp_path / "t.parquet")
    footer = pq.read_metadata(tmp_path / "t.parquet")
    found = {e for column in range(footer.num_columns) for e in footer.row_group(0).column(column).encodings}
    assert found <= {"PLAIN", "RLE", "RLE_DICTIONARY", "PLAIN_DICTIONARY"}


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.drop_columns(["peak"]),
        lambda t: t.append_column("extra", t["rank"]),
        lambda t: t.rename_columns([*t.column_names[:-1], "values"]),
        lambda t: t.select(t.column_names[::-1]),
        lambda t: t.set_column(2, "neuron", t["neuron"].cast(pa.int64())),
    ],
    ids=["fewer", "more", "renamed", "reordered", "retyped"],
)
def test_table_with_other_columns_is_named(tmp_path, change):
    path = tmp_path / "chunk-0.parquet"
    write_table(change(exemplars(BF16)), path)
    with pytest.raises(ValueError, match="other columns than this version writes") as caught:
        read_table(path, EXEMPLARS)
    assert str(path) in str(caught.value)
    assert "delete it and run again" in str(caught.value)


def test_table_of_another_stage_is_refused(fetched):
    with pytest.raises(ValueError, match="other columns"):
        read_table(fetched["sotu"], CORPUS)


def test_bf16_activations_take_less_than_half_the_bytes(tmp_path, smollm2, tokenizer, fetched):
    import torch

    from neuron_descriptions.models.loading import load_model

    model = load_model(smollm2, "bfloat16", head=False, threads=2)
    speech = read_table(fetched["sotu"], DOCUMENTS)["text"][0].as_py()
    ids = torch.tensor(tokenizer(speech)["input_ids"][:768]).view(12, 64)
    kept: list[torch.Tensor] = []
    hook = model.layers[3].mlp.down_proj.register_forward_pre_hook(lambda module, args: kept.append(args[0]))
    with torch.inference_mode():
        model(ids)
    hook.remove()
    values = kept[0].transpose(1, 2).float().flatten().numpy()  # 12 x 1,536 rows of 64 tokens
    write_table(exemplars(values, per_row=64), tmp_path / "t.parquet")
    assert bits(read_table(tmp_path / "t.parquet", EXEMPLARS), "activations") == values.view(np.uint32).tolist()
    assert (tmp_path / "t.parquet").stat().st_size < 0.45 * values.nbytes  # zstd alone: 0.50


# --- whole or not at all -----------------------------------------------------------------------------


def entries(folder: Path) -> set[str]:
    """Everything in a folder, hidden or not."""
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


def fail(path: Path, kind: str, error: BaseException) -> None:
    """Begin to write a file or a folder, then fail."""
    with whole(path) as part:
        if kind == "folder":
            part.mkdir()
            part = part / "a"
        part.write_text("half a")
        raise error


def make(path: Path, kind: str) -> Path:
    """Make a good file or folder; returns the file that is in it."""
    good = path / "a" if kind == "folder" else path
    good.parent.mkdir(exist_ok=True)
    good.write_text("good")
    return good


KINDS = pytest.mark.parametrize("kind", ["file", "folder"])


def test_file_appears_when_it_is_done(tmp_path):
    with whole(tmp_path / "deep/er/file.txt") as part:
        part.write_text("all of it")
        assert not (tmp_path / "deep/er/file.txt").exists()
        assert part.suffix == ".txt"
    assert (tmp_path / "deep/er/file.txt").read_text() == "all of it"
    assert entries(tmp_path) == {"deep", "deep/er", "deep/er/file.txt"}


def test_folder_appears_when_it_is_done(tmp_path):
    with whole(tmp_path / "folder") as part:
        (part / "inner").mkdir(parents=True)
        (part / "inner/a").write_text("a")
        assert not (tmp_path / "folder").exists()
    assert entries(tmp_path) == {"folder", "folder/inner", "folder/inner/a"}


@KINDS
@pytest.mark.parametrize("error", [RuntimeError("midway"), KeyboardInterrupt("midway")], ids=["error", "interrupt"])
def test_nothing_is_left_of_a_failure(tmp_path, kind, error):
    with pytest.raises(type(error), match="midway"):
        fail(tmp_path / "result", kind, error)
    assert entries(tmp_path) == set()


@KINDS
def test_result_survives_a_failed_rewrite(tmp_path, kind):
    good = make(tmp_path / "result", kind)
    before = entries(tmp_path)
    with pytest.raises(RuntimeError, match="midway"):
        fail(tmp_path / "result", kind, RuntimeError("midway"))
    assert good.read_text() == "good"
    assert entries(tmp_path) == before


@KINDS
def test_result_survives_a_rewrite_that_wrote_nothing(tmp_path, kind):
    path = tmp_path / "result"
    good = make(path, kind)
    with pytest.raises(OSError, match=str(path)), whole(path):
        pass
    assert good.read_text() == "good"


def test_table_survives_a_failed_rewrite(tmp_path):
    path = tmp_path / "t.parquet"
    write_table(exemplars(BF16), path)
    good = path.read_bytes()
    unwritable = pa.table({"values": pa.array([{}], pa.struct([]))})  # Parquet has no empty structs
    with pytest.raises(pa.ArrowNotImplementedError):
        write_table(unwritable, path)
    assert path.read_bytes() == good
    assert entries(tmp_path) == {"t.parquet"}


def test_rewrite_replaces_a_file_and_a_folder(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/old").touch()
    (tmp_path / "file").write_text("old")
    with whole(tmp_path / "folder") as part:
        part.mkdir()
        (part / "new").touch()
    with whole(tmp_path / "file") as part:
        part.write_text("new")
    assert entries(tmp_path) == {"folder", "folder/new", "file"}
    assert (tmp_path / "file").read_text() == "new"


FULL = """
import resource, signal, sys
import numpy as np, pyarrow as pa
from neuron_descriptions.common.storage import whole, write_table

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write past the limit then fails as on a full disk
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
path, kind = sys.argv[1:]
if kind == "table":
    values = np.random.default_rng(0).random(1_000_000).astype(np.float32)
    write_table(pa.table({"values": values}), path)
elif kind == "folder":
    with whole(path) as part:
        part.mkdir()
        (part / "small").write_bytes(b"x")
        (part / "large").write_bytes(bytes(200_000))
else:
    with whole(path) as part:
        part.write_bytes(bytes(200_000))
"""


@pytest.mark.parametrize("kind", ["file", "folder", "table"])
@pytest.mark.parametrize("existing", [False, True], ids=["new", "rewrite"])
def test_full_disk_is_named_and_leaves_nothing(tmp_path, kind, existing):
    path = tmp_path / "result"
    good = make(path, kind) if existing else None
    before = entries(tmp_path)
    command = [sys.executable, "-c", FULL, str(path), kind]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT / "scripts")}, capture_output=True, text=True
    )
    assert done.returncode == 1
    error = done.stderr.strip().splitlines()[-1]
    assert error.startswith("OSError: ")
    assert f"writing {path}" in error
    assert "File too large" in error
    assert entries(tmp_path) == before
    assert good is None or good.read_text() == "good"
