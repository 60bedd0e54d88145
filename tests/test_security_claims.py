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

from tasutils.checkpoints import file_fault, read_state_dict
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


@pytest.mark.parametrize("cut", [0, 3, 11, 40, 200])
def test_a_cut_table_is_refused(tmp_path, cut):
    path = tmp_path / "t.parquet"
    pq.write_table(table_of(), path)
    path.write_bytes(path.read_bytes()[:cut])
    refused(_read_table, path, {})
