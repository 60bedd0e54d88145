"""The restricted pickle reader: Python 2's opcodes are read, and nothing is ever run."""

import os
import pickle
import struct
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasutils.datasets.pickles import MAX_DEPTH, load_plain, loads_plain
from tasutils.errors import TasError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner)
    | st.tuples(inner, inner),
    max_leaves=20,
)  # fmt: skip


def short_binstring(text: bytes) -> bytes:
    return b"U" + bytes([len(text)]) + text


def python2_refs() -> bytes:
    """A reference as cPickle of Python 2, protocol 2, wrote it: byte strings, memo, longs."""
    return b"".join([
        b"\x80\x02]q\x01(",
        b"}q\x02(",
        short_binstring(b"sent_ids"), b"q\x03", b"]q\x04(K\x00K\x01M\x2c\x01e",
        short_binstring(b"file_name"), b"q\x05", b"T\x09\x00\x00\x00COCO_.jpg", b"q\x06",
        short_binstring(b"ann_id"), b"q\x07", b"J" + struct.pack("<i", 1719310),
        short_binstring(b"ref_id"), b"q\x08", b"\x8a\x01\x05",
        short_binstring(b"big"), b"q\x09", b"\x8b\x05\x00\x00\x00" + (2**33).to_bytes(5, "little"),
        short_binstring(b"negative"), b"\x8a\x02\x00\xff",
        short_binstring(b"split"), b"r" + struct.pack("<I", 300), short_binstring(b"testA"),
        short_binstring(b"empty"), b"\x8a\x00",
        short_binstring(b"caf\xc3\xa9"), short_binstring(b"caf\xe9"),
        short_binstring(b"raw"), b"X" + struct.pack("<I", 5) + b"caf\xc3\xa9",
        b"u",
        b"}q\x0a(h\x03]h\x05h\x06j" + struct.pack("<I", 300), b"Nu",
        b"e.",
    ])  # fmt: skip


def test_python2_protocol_2():
    first, second = loads_plain(python2_refs())
    assert first == {
        "sent_ids": [0, 1, 300], "file_name": "COCO_.jpg", "ann_id": 1719310, "ref_id": 5,
        "big": 2**33, "negative": -256, "split": "testA", "empty": 0, "caf\u00e9": "caf\u00e9",
        "raw": "caf\u00e9",
    }  # fmt: skip
    assert second == {"sent_ids": [], "file_name": "COCO_.jpg", "split": None}
    assert second["file_name"] is first["file_name"]


def test_python2_protocol_0():
    data = (
        b"(lp0\n(dp1\nS'ref_id'\np2\nI7\nsS'ann_id'\np3\nL1234567890123L\nsS'sents'\np4\n"
        b'(lp5\nS"man\'s \\xc3\\xa9\\n"\np6\naVd\xe9j\xe0\np7\naV\\ud83d\\ude00\nag6\nas'
        b"S'yes'\nI01\nsS'no'\nI00\nsS'half'\nF0.5\nsS'pair'\n(I1\nI-2\ntp8\nsS'none'\nNsa."
    )
    assert loads_plain(data) == [{
        "ref_id": 7, "ann_id": 1234567890123,
        "sents": ["man's \u00e9\n", "d\u00e9j\u00e0", "\U0001f600", "man's \u00e9\n"],
        "yes": True, "no": False, "half": 0.5, "pair": (1, -2), "none": None,
    }]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(PLAIN, st.integers(0, 5))
def test_reads_back_what_python_writes(value, protocol):
    def bounded(item):
        if isinstance(item, dict):
            return all(bounded(k) and bounded(v) for k, v in item.items())
        if isinstance(item, list | tuple):
            return all(bounded(i) for i in item)
        return not isinstance(item, int) or abs(item) < 2**256

    if bounded(value):
        assert loads_plain(pickle.dumps(value, protocol)) == value


class Shell:
    def __reduce__(self):
        return os.system, ("touch /nonexistent/pwned",)


def malicious() -> dict[str, bytes]:
    command = b"touch MARKER"
    return {
        "reduce, protocol 0": pickle.dumps(Shell(), 0),
        "reduce, protocol 2": pickle.dumps([{"ref_id": Shell()}], 2),
        "reduce, protocol 5": pickle.dumps(Shell(), 5),
        "global": b"cos\nsystem\n(S'" + command + b"'\ntR.",
        "inst": b"(S'" + command + b"'\nios\nsystem\n.",
        "obj": b"(cos\nsystem\nS'" + command + b"'\no.",
        "newobj": b"\x80\x02cposix\nsystem\nU\x0c" + command + b"\x85\x81.",
        "stack global": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0c" + command + b"\x85R.",
        "ext1": b"\x80\x02\x82\x01)R.",
        "ext2": b"\x80\x02\x83\x01\x00)R.",
        "ext4": b"\x80\x02\x84\x01\x00\x00\x00)R.",
        "build": b"\x80\x02}}U\x01aK\x01sb.",
        "reduce of a string": b"\x80\x02U\x0c" + command + b")R.",
        "persistent id": b"Psomething\n.",
        "binary persistent id": b"U\x01aQ.",
        "set": pickle.dumps({1, 2}, 4),
        "bytes": pickle.dumps(b"raw", 3),
        "bytearray": pickle.dumps(bytearray(b"raw"), 5),
        "buffer": b"\x80\x05\x97.",
        "complex": pickle.dumps(1j, 2),
        "builtins": b"c__builtin__\neval\n(S'1'\ntR.",
    }


@pytest.mark.parametrize("name", malicious())
def test_refuses_and_runs_nothing(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "refs(tas).p"
    path.write_bytes(malicious()[name])
    monkeypatch.setattr(os, "system", lambda *_: pytest.fail("code ran"))
    with pytest.raises(TasError, match="not plain data") as caught:
        load_plain(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["refs(tas).p"]


@pytest.mark.parametrize("data", [
    b"", b".", b"(.", b"]", b"U\x09abc.", b"T\xff\xff\xff\xff.", b"T\xff\xff\xff\x7fa.",
    b"X\xff\xff\xff\xffa.", b"\x8d" + b"\xff" * 8 + b".", b"h\x05.", b"j\xff\xff\xff\xff.",
    b"g7\n.", b"p0\n.", b"I12", b"Ix\n.", b"Fx\n.", b"Lx\n.", b"S'abc\n.", b"Sabc\n.", b"J\x01.",
    b"\x80\x09N.", b"}U\x01a.", b"}(U\x01au.", b"}N]s.", b"]]e.", b"N]a.", b"Na.", b"a.", b"e.",
    b"s.", b"u.", b"\x85.", b"(\x85.", b"\x87.", b"2.", b"0.", b"1.", b"d.", b"(Nd.", b"NN.",
    b"\x8b\xff\xff\xff\xff.", b"\x8a\xff" + b"\x01" * 255 + b".", b"I" + b"9" * 5000 + b"\n.",
    b"X\x02\x00\x00\x00\xff\xfe.", b"\xff.", b"(]s.", b"V\\ud83d\n.", b"q\x00.", b"(q\x00.",
    b"S'\\x'\n.", b"\x95\x01.",
])  # fmt: skip
def test_damaged_files_are_one_line(data):
    with pytest.raises(TasError) as caught:
        loads_plain(data, "refs.p")
    assert "\n" not in str(caught.value) and str(caught.value).startswith("refs.p: ")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_change_of_a_file_is_plain_data_or_one_line(data):
    raw = bytearray(python2_refs())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        loads_plain(bytes(raw[: data.draw(st.integers(0, len(raw)))]))
    except TasError as error:
        assert "\n" not in str(error)


def test_nesting_is_bounded():
    def nested(depth):
        return b"]" * depth + b"a" * (depth - 1) + b"."

    assert loads_plain(nested(MAX_DEPTH)) != []
    for deep in (nested(MAX_DEPTH + 2), nested(100_000)):
        with pytest.raises(TasError, match="nested"):
            loads_plain(deep)


def test_a_list_inside_itself_and_shared_lists_do_not_blow_up():
    with pytest.raises(TasError, match="inside itself"):
        loads_plain(b"]q\x00h\x00a.")
    laughs = b"]q\x00Na" + b"".join(
        b"(" + bytes([0x68, k]) * 10 + b"lq" + bytes([k + 1]) for k in range(10)
    )
    start = time.perf_counter()
    with pytest.raises(TasError, match="counted as often as they are named"):
        loads_plain(b"(" + laughs + b"l.")
    assert time.perf_counter() - start < 5


def test_unhashable_and_nested_keys_are_refused():
    with pytest.raises(TasError, match="dictionary key"):
        loads_plain(b"}" + b")" + b"\x85" * 50_000 + b"Ns.")
    with pytest.raises(TasError, match="dictionary key"):
        loads_plain(b"}]Ns.")


def test_missing_and_oversized_files(tmp_path: Path, monkeypatch):
    with pytest.raises(TasError, match="cannot be read"):
        load_plain(tmp_path / "refs(unc).p")
    with pytest.raises(TasError, match="cannot be read"):
        load_plain(tmp_path)
    monkeypatch.setattr("tasutils.datasets.pickles.MAX_BYTES", 3)
    (tmp_path / "big.p").write_bytes(b"]q\x00.")
    with pytest.raises(TasError, match="too large"):
        load_plain(tmp_path / "big.p")
