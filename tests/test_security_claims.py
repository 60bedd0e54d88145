"""Files that claim more than they hold: refused before anything of that size is allocated."""

import io
import tarfile
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from test_security_files import refused

from tasutils import parquet_pages
from tasutils.checkpoints import file_fault, read_state_dict
from tasutils.datasets.mirror import COLUMNS, load_mirror
from tasutils.runs import _read_table
from tasutils.torch_pickles import legacy_fault, zipped_fault

REBUILD = torch._utils._rebuild_tensor_v2


class Call:
    """A call that a pickle asks for."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def claims():
    """Name -> what a file holds in place of tensors, and words of the refusal."""
    storage = torch.zeros(3000).untyped_storage()
    typed = torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.float32, _internal=True)

    def tensor(shape, strides, offset=0):
        return Call(REBUILD, typed, offset, shape, strides, False, {})

    return {
        "steps": (tensor((3000, 3000), (3000, 3000)), "values, more than its"),
        "expanded": (tensor((3000, 3000), (0, 0)), "values, more than its"),
        "offset": (tensor((1500,), (1,), 1501), "reaches out of its storage"),
        "many axes": (tensor((1,) * 65, (1,) * 65), "no shape"),
        "negative": (tensor((3,), (-1,)), "no whole number"),
        "constructor": (Call(torch.FloatTensor, 900, 900, 900), "asks to run torch.FloatTensor"),
        "bytes": (Call(bytearray, 9000), "asks to run __builtin__.bytearray"),
        "dictionary": (Call(__import__("collections").OrderedDict, [(1, 2)]), "does not take"),
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", claims())
def test_a_torch_file_asks_for_what_it_does_not_hold(tmp_path, name, zipped):
    value, words = claims()[name]
    path = tmp_path / "w.pth"
    torch.save({"a": value}, path, _use_new_zipfile_serialization=zipped)
    assert words in refused(read_state_dict, path)


def test_storages_are_counted_together_and_a_shared_one_once(tmp_path):
    shared = torch.zeros(2000)
    torch.save({"a": shared, "b": shared[:1000], "c": shared.view(2, -1).T}, tmp_path / "w.pth")
    assert file_fault(tmp_path / "w.pth") is None
    assert read_state_dict(tmp_path / "w.pth")["c"].shape == (1000, 2)
    torch.save(
        {f"k{i}": torch.zeros(2000) for i in range(20)}, tmp_path / "l.pth",
        _use_new_zipfile_serialization=False,
    )  # fmt: skip
    data = (tmp_path / "l.pth").read_bytes()
    assert legacy_fault(data) is None and "cut short" in legacy_fault(data[:100_000])


def test_a_string_of_a_torch_file_is_no_longer_than_the_file():
    program = b"\x80\x02X\xff\xff\xff\xff" + b"a" * 90
    tracemalloc.start()
    assert "damaged" in zipped_fault(program, 10**6)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_torchs_oldest_form_is_not_opened(tmp_path):
    with tarfile.open(tmp_path / "w.pth", "w") as made:
        made.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    assert "tar archive" in refused(read_state_dict, tmp_path / "w.pth")


def table_of(n_rows=50):
    words = ["a", "bc", "d" * 40] * n_rows
    return pa.table({
        "n": np.arange(n_rows), "word": words[:n_rows], "x": [0.5, None] * (n_rows // 2),
        "list": [[k, k + 1] for k in range(n_rows)],
        "deep": [[{"raw": "w", "ids": [1]}]] * n_rows,
    })  # fmt: skip


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "zstd", "snappy"])
def test_a_sound_table_is_read_as_pyarrow_reads_it(tmp_path, version, compression):
    path = tmp_path / "t.parquet"
    pq.write_table(table_of(), path, compression=compression, data_page_version=version,
                   row_group_size=7)  # fmt: skip
    assert parquet_pages.table(path).equals(pq.read_table(path))
    with path.open("rb") as raw:
        found = parquet_pages.column_chunks(raw)
    meta = pq.read_metadata(path)
    assert len(found) == meta.num_row_groups
    for group, chunks in enumerate(found):
        for index, chunk in enumerate(chunks):
            known = meta.row_group(group).column(index)
            assert chunk.name == known.path_in_schema.split(".")[0]
            assert chunk.size == known.total_compressed_size
            start = known.dictionary_page_offset or known.data_page_offset
            assert chunk.start == start
    pq.write_table(table_of()[:0], path)
    assert parquet_pages.table(path).equals(pq.read_table(path))


@pytest.mark.parametrize(("bound", "least"), [("MAX_BYTES", 40_000), ("MAX_VALUES", 5000)])
def test_pages_that_unpack_to_more_than_a_bound_are_not_unpacked(
    tmp_path, monkeypatch, bound, least
):
    path, opened, real = tmp_path / "t.parquet", [], pq.ParquetFile
    pq.write_table(pa.table({"n": np.zeros(5000, np.int64)}), path, use_dictionary=False)
    monkeypatch.setattr(pq, "ParquetFile", lambda *a, **k: opened.append(a) or real(*a, **k))
    monkeypatch.setattr(parquet_pages, bound, least - 1)
    assert "claims" in refused(_read_table, path, {}) and not opened
    monkeypatch.setattr(parquet_pages, bound, least + 1000)  # rows have a bit each more
    assert len(_read_table(path, {"n": True})) == 5000 and opened


def test_few_bytes_that_stand_for_many_rows_come_in_small_batches(tmp_path, monkeypatch):
    """A word of a dictionary, named again and again."""
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({name: ["w" * 100_000] * 400 for name in COLUMNS}), path)
    assert path.stat().st_size < 200_000
    monkeypatch.setattr(parquet_pages, "_BATCH_BYTES", 400_000)
    assert {batch.num_rows for batch in parquet_pages.batches(path)} <= {1, 2, 3}
    monkeypatch.setattr(parquet_pages, "MAX_BYTES", 4_000_000)
    files = {"validation": path}
    assert "GB of rows" in refused(load_mirror, "refcoco", "val", "unc", "unc", files, tmp_path)


@pytest.mark.parametrize("cut", [0, 3, 11, 40, 200])
def test_a_cut_table_is_refused(tmp_path, cut):
    path = tmp_path / "t.parquet"
    pq.write_table(table_of(), path)
    path.write_bytes(path.read_bytes()[:cut])
    refused(_read_table, path, {})
