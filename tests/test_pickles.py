"""Pickles of annotations: Python 2's are read, and whatever asks for more ends in one line."""

import os
import pickle
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasutils.datasets import files
from tasutils.datasets.files import load_plain, loads_plain
from tasutils.errors import TasError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=20,
)


def short(text: bytes) -> bytes:
    """SHORT_BINSTRING, which no Python 3 writes."""
    return b"U" + bytes([len(text)]) + text


def python2_refs() -> bytes:
    """A reference as cPickle of Python 2, protocol 2, wrote it: byte strings, memo, longs."""
    return b"".join([
        b"\x80\x02]q\x01(",
        b"}q\x02(",
        short(b"sent_ids"), b"q\x03", b"]q\x04(K\x00K\x01M\x2c\x01e",
        short(b"file_name"), b"q\x05", b"T\x09\x00\x00\x00COCO_.jpg", b"q\x06",
        short(b"ann_id"), b"q\x07", b"J" + struct.pack("<i", 1719310),
        short(b"ref_id"), b"q\x08", b"\x8a\x01\x05",
        short(b"big"), b"q\x09", b"\x8b\x05\x00\x00\x00" + (2**33).to_bytes(5, "little"),
        short(b"negative"), b"\x8a\x02\x00\xff",
        short(b"split"), b"r\x0c\x00\x00\x00", short(b"testA"),
        short(b"utf-8"), short(b"caf\xc3\xa9"), short(b"latin-1"), short(b"caf\xe9"),
        short(b"raw"), b"X\x05\x00\x00\x00caf\xc3\xa9",
        b"u",
        b"}q\x0a(h\x03]h\x05h\x06j\x0c\x00\x00\x00Nu",
        b"e.",
    ])  # fmt: skip


def test_python2_protocol_2():
    assert loads_plain(python2_refs()) == [
        {
            "sent_ids": [0, 1, 300], "file_name": "COCO_.jpg", "ann_id": 1719310, "ref_id": 5,
            "big": 2**33, "negative": -256, "split": "testA", "utf-8": "café", "latin-1": "café",
            "raw": "café",
        },
        {"sent_ids": [], "file_name": "COCO_.jpg", "split": None},
    ]  # fmt: skip


def test_python2_protocol_0():
    data = (
        b"(lp0\n(dp1\nS'ref_id'\np2\nI7\nsS'ann_id'\np3\nL1234567890123L\nsS'sents'\np4\n"
        b'(lp5\nS"man\'s \\xc3\\xa9\\n"\np6\naVd\xe9j\xe0\np7\naV\\ud83d\\ude00\nag6\nas'
        b"S'yes'\nI01\nsS'no'\nI00\nsS'half'\nF0.5\nsS'none'\nNsa."
    )
    assert loads_plain(data) == [{
        "ref_id": 7, "ann_id": 1234567890123, "yes": True, "no": False, "half": 0.5, "none": None,
        "sents": ["man's é\n", "déjà", "\U0001f600", "man's é\n"],
    }]  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(PLAIN, st.integers(0, 5))
def test_reads_back_what_python_writes(value, protocol):
    assert loads_plain(pickle.dumps([value], protocol)) == [value]


class Shell:
    def __reduce__(self):
        return os.system, ("touch MARKER",)


REFUSED = {
    "reduce, protocol 0": pickle.dumps(Shell(), 0),
    "reduce, protocol 2": pickle.dumps([{"ref_id": Shell()}], 2),
    "global": b"cos\nsystem\n(S'touch MARKER'\ntR.",
    "inst": b"(S'touch MARKER'\nios\nsystem\n.",
    "obj": b"(cos\nsystem\nS'touch MARKER'\no.",
    "newobj": b"\x80\x02cposix\nsystem\nU\x0ctouch MARKER\x85\x81.",
    "stack global": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0ctouch MARKER\x85R.",
    "extensions": b"\x80\x02\x82\x01)R.", "build": b"\x80\x02}}U\x01aK\x01sb.",
    "reduce of a string": b"\x80\x02U\x01a)R.", "persistent id": b"Psomething\n.",
    "binary persistent id": b"U\x01aQ.", "set": pickle.dumps({1, 2}, 4),
    "bytes": pickle.dumps(b"raw", 3), "bytearray": pickle.dumps(bytearray(b"raw"), 5),
    "buffer": b"\x80\x05\x97.", "tuple": pickle.dumps((1, 2), 2), "nested": b")" + b"\x85" * 10**6,
}  # fmt: skip
DAMAGED = {
    "empty": b"", "no end": b"NN", "nothing left": b"(.", "truncated": b"NU\x09abc.",
    "no key": b"(Nd.", "no list": b"NNa.", "no dict": b"]K\x01Ns.", "no value": b"(}U\x01as.",
    "no mark": b"Ne.", "no memo": b"h\x05.", "no quotes": b"Sabc\n.", "protocol": b"\x80\x06N.",
    "no number": b"I1x\n.", "no text": b"X\x01\x00\x00\x00\xff.", "a half": b"]V\\ud83d\na.",
    "a key of lists": b"}]Ns.", "memo": b"]p-9\n.",
    "an integer of a billion bytes": b"\x8b\x00\xca\x9a\x3b.",
    "a text of 2**62 bytes": b"\x8d" + struct.pack("<Q", 2**62) + b"x.",
    "deep": b"]" * 10**5 + b"a" * (10**5 - 1) + b".",
}  # fmt: skip
LAUGHS = b"](" + b"N" * 10 + b"eq\x00"
LAUGHS += b"".join(b"](" + bytes([0x68, k]) * 10 + b"eq" + bytes([k + 1]) for k in range(9))
LOOPS = {"within itself": b"]q\x00h\x00a.", "laughs": LAUGHS + b"."}


@pytest.mark.parametrize("name", [*REFUSED, *DAMAGED, *LOOPS])
def test_nothing_runs_and_one_line_tells_why(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "refs.p").write_bytes((REFUSED | DAMAGED | LOOPS)[name])
    words = "not plain data" if name in REFUSED else "refused: inf|1e" if name in LOOPS else "damag"
    with pytest.raises(TasError, match=words) as caught:
        load_plain("refs.p")
    assert str(caught.value).startswith("refs.p: ") and "\n" not in str(caught.value)
    assert os.listdir() == ["refs.p"]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_bytes_end_in_a_value_or_one_line(data):
    raw = bytearray(python2_refs())
    for _ in range(data.draw(st.integers(0, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        loads_plain(bytes(raw[: data.draw(st.integers(0, len(raw)))]))
    except TasError as error:
        assert "\n" not in str(error)


def test_missing_and_oversized_files(tmp_path, monkeypatch):
    for place in (tmp_path / "refs(unc).p", tmp_path):
        with pytest.raises(TasError, match="cannot be read"):
            load_plain(place)
    (tmp_path / "refs_unc.p").write_bytes(b"]q\x00.")
    monkeypatch.setattr(files, "MAX_BYTES", 3)
    with pytest.raises(TasError, match="check that it is the published file"):
        load_plain(tmp_path / "refs_unc.p")
