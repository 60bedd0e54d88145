"""The restricted pickle reader, instruction by instruction: what each reads, what each refuses."""

import pickle
import pickletools
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasutils.datasets import pickles
from tasutils.datasets.pickle_machine import _INSTRUCTIONS, MAX_LONG_BYTES
from tasutils.datasets.pickles import MAX_DEPTH, MAX_VALUES, load_plain, loads_plain
from tasutils.errors import TasError

# one program or more for every instruction that is read
PROGRAMS = [
    b"N.", b"(lp0\n.", b"(1N.", b"NN0.", b"(K\x01N1N.", b"N2\x86.",
    b"I7\n.", b"I-12\n.", b"I00\n.", b"I01\n.", b"I1\n.", b"L12L\n.", b"L-3\n.", b"L5L\n.",
    b"J\xfe\xff\xff\xff.", b"J\x01\x02\x03\x04.", b"K\xff.", b"M\x01\x02.",
    b"\x8a\x00.", b"\x8a\x01\x80.", b"\x8a\x02\x80\x00.", b"\x8a\x40" + b"\x01\x80" * 32 + b".",
    b"\x8b\x02\x00\x00\x00\x01\xff.", b"\x88.", b"\x89.", b"F-1.5\n.", b"Finf\n.",
    b"G" + struct.pack(">d", 0.1) + b".", b"S'a b'\n.", b'S"it\'s"\n.', b"S''\n.",
    b"S'\\n\\x41'\n.",
    b"T\x03\x00\x00\x00abc.", b"T\x00\x00\x00\x00.", b"U\x03abc.", b"U\x00.",
    b"V\\u00e9a\n.", b"V\n.", b"Vplain\n.", b"X\x02\x00\x00\x00\xc3\xa9.", b"\x8c\x03a\xc3\xa9.",
    b"\x8d\x02" + bytes(7) + b"\xc3\xa9.", b"].", b"]Na.", b"](NK\x01e.", b"](e.", b"(l.", b"(NNl.",
    b"}.", b"(d.", b"(K\x01NU\x01aNd.", b"}K\x01Ns.", b"}(K\x01NK\x02\x88u.", b"}(u.",
    b").", b"(t.", b"(NK\x01t.", b"N\x85.", b"NK\x01\x86.", b"NK\x01K\x02\x87.",
    b"K\x09NK\x01\x86\x86.",
    b"]p0\ng0\n\x86.", b"]q\x00h\x00\x86.", b"Nq\x07K\x01h\x07\x87.",
    b"]r\x2c\x01\x00\x00j\x2c\x01\x00\x00\x86.",
    b"U\x01a\x94U\x01b\x94h\x00h\x01\x87\x86.", b"\x80\x05N.", b"\x80\x00N.",
    b"\x95" + bytes(8) + b"N.",
    b"((Nlt.", b"K\x01(K\x02(K\x03tt\x86.",
]  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program[:16].hex())
def test_reads_what_pickle_reads(program):
    assert repr(loads_plain(program)) == repr(pickle.loads(program, encoding="utf-8"))


def test_every_instruction_has_its_program():
    seen = {ord(op.code) for program in PROGRAMS for op, _, _ in pickletools.genops(program)}
    assert seen == {*_INSTRUCTIONS, ord(".")}


def line_of(data, source="refs.p"):
    with pytest.raises(TasError) as caught:
        loads_plain(data, source)
    return str(caught.value)


DAMAGED = {
    b"": (0, "ends before its STOP"),
    b"NN": (2, "ends before its STOP"),
    b"U\x03abc": (5, "ends before its STOP"),
    b".": (0, "not exactly one value at its end"),
    b"(.": (1, "not exactly one value at its end"),
    b"NN.": (2, "not exactly one value at its end"),
    b"N(.": (2, "not exactly one value at its end"),
    b"NU\x09abc.": (1, "truncated"),
    b"T\xff\xff\xff\xffab.": (0, "truncated"),
    b"X\xff\xff\xff\xff.": (0, "truncated"),
    b"J\x01.": (0, "truncated"),
    b"I12": (0, "truncated"),
    b"N\x95\x01.": (1, "truncated"),
    b"K": (0, "index out of range"),
    b"U": (0, "index out of range"),
    b"]a.": (1, "list index out of range"),
    b"(a.": (1, "a value is missing"),
    b"(\x85.": (1, "a value is missing"),
    b"\x85.": (0, "pop from empty list"),
    b"0.": (0, "pop from empty list"),
    b"N2.": (2, "not exactly one value at its end"),
    b"e.": (0, "a mark is missing"),
    b"Ne.": (1, "a mark is missing"),
    b"Nt.": (1, "a mark is missing"),
    b"1.": (0, "a mark is missing"),
    b"q\x00.": (0, "list index out of range"),
    b"(q\x00.": (1, "a memo of nothing"),
    b"Np-1\n.": (1, "a memo of nothing"),
    b"h\x05.": (0, "memo 5 was never stored"),
    b"Nq\x05g6\n.": (3, "memo 6 was never stored"),
    b"(U\x01as.": (4, "a value is missing"),
    b"}(U\x01au.": (5, "a key without its value"),
    b"(K\x01Nd}(K\x01u.": (9, "a key without its value"),
    b"(Nd.": (2, "a key without its value"),
    b"Sabc\n.": (0, "a string without its quotes"),
    b"S\n.": (0, "a string without its quotes"),
    b"S'\n.": (0, "a string without its quotes"),
    b"S'a\"\n.": (0, "a string without its quotes"),
    b"Saba\n.": (0, "a string without its quotes"),
    b"S 'a'\n.": (0, "a string without its quotes"),
    b"S'a'X\n.": (0, "a string without its quotes"),
    b"S'a'\t\n.": (0, "a string without its quotes"),
    b"\x80\x06N.": (0, "an unknown pickle protocol"),
    b"I1x\n.": (0, "invalid literal for int() with base 10: b'1x'"),
    b"L1LL\n.": (0, "invalid literal for int() with base 10: b'1L'"),
    b"LL1\n.": (0, "invalid literal for int() with base 10: b'L1'"),
    b"Fx  y\n.": (0, "could not convert string to float: b'x y'"),
    b"I" + b"x" * 99 + b"\n.": (0, "invalid literal for int() with base 10: b'" + "x" * 38),
    b"X\x01\x00\x00\x00\xff.": (
        0, "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
    ),
}  # fmt: skip
REFUSED = {
    b"cos\nsystem\n.": (0, "the instruction GLOBAL is not plain data"),
    b"N\xff.": (1, "the instruction byte 0xff is not plain data"),
    b"N\x07.": (1, "the instruction byte 0x07 is not plain data"),
    b"NNa.": (2, "appends to something that is no list"),
    b")Na.": (2, "appends to something that is no list"),
    b"N(e.": (2, "appends to something that is no list"),
    b"]K\x01Ns.": (4, "sets keys of something that is no dict"),
    b"N(u.": (2, "sets keys of something that is no dict"),
    b"})Ns.": (3, "a dictionary key of type tuple"),
    b"}\x88Ns.": (3, "a dictionary key of type bool"),
    b"}NNs.": (3, "a dictionary key of type NoneType"),
    b"(F1.5\nNd.": (7, "a dictionary key of type float"),
    b"\x8a\x41" + bytes(65) + b".": (0, "an integer of 65 bytes"),
    b"\x8b\xff\xff\xff\xff.": (0, "an integer of 4294967295 bytes"),
    b"I" + b"1" * 129 + b"\n.": (0, "an integer of 129 digits"),
    b"L" + b"1" * 130 + b"L\n.": (0, "an integer of 130 digits"),
    b"]q\x00h\x00a.": (6, "a list or dictionary inside itself"),
    b"}q\x00K\x01h\x00s.": (8, "a list or dictionary inside itself"),
}


@pytest.mark.parametrize("data", DAMAGED, ids=lambda data: data[:16].hex())
def test_damage_is_told_with_its_place(data):
    at, reason = DAMAGED[data]
    assert line_of(data) == f"refs.p: damaged pickle at byte {at} ({reason}); get the file again"


@pytest.mark.parametrize("data", REFUSED, ids=lambda data: data[:16].hex())
def test_refusals_are_told_with_their_place(data):
    at, reason = REFUSED[data]
    page = "get the file from the data set's own page"
    assert line_of(data) == f"refs.p: refused at byte {at}: {reason}; {page}"
    assert line_of(data, "x").startswith("x: ")
    with pytest.raises(TasError, match="^pickle: refused"):
        loads_plain(data)


def test_the_largest_integers():
    digits = b"9" * (2 * MAX_LONG_BYTES)
    assert loads_plain(b"I" + digits + b"\n.") == int(digits)
    assert loads_plain(b"L" + digits[1:] + b"L\n.") == int(digits[1:])
    most = b"\xff" * (MAX_LONG_BYTES - 1) + b"\x7f"
    assert (
        loads_plain(b"\x8a" + bytes([MAX_LONG_BYTES]) + most + b".")
        == 2 ** (8 * MAX_LONG_BYTES - 1) - 1
    )


def test_text_lines_of_python_2():
    assert loads_plain(b"S'a'\r\n.") == loads_plain(b"S'a' \n.") == "a"
    assert loads_plain(b"S'a' \r \n.") == "a" and loads_plain(b"S'\\'' \n.") == "'"
    assert loads_plain(b"S''\n.") == loads_plain(b'S""\n.') == ""
    assert loads_plain(b"S'caf\\xe9'\n.") == loads_plain(b"U\x04caf\xe9.") == "caf\u00e9"
    assert loads_plain(b"T\x05\x00\x00\x00caf\xc3\xa9.") == "caf\u00e9"
    assert loads_plain(b"V\\ud83d\\ude00!\n.") == "\U0001f600!"
    assert line_of(b"V\\ud83d\n.").startswith("refs.p: damaged pickle at byte 0 ('utf-16")
    assert len(line_of(b"V\\ud83d\n.")) <= len("refs.p: damaged pickle at byte 0 (); ") + 80 + 18


def test_a_later_memo_replaces_an_earlier_one():
    assert loads_plain(b"K\x01q\x00K\x02q\x00h\x00\x87.") == (1, 2, 2)
    assert loads_plain(b"K\x05q\x03K\x06\x94h\x01\x87.") == (5, 6, 6)  # the number of memos so far


# --- what is made of them ---


def nested(depth, kind):
    """`depth` containers, one in the other."""
    value = [] if kind == "list" else {} if kind == "dict" else ()
    for _ in range(depth - 1):
        value = [value] if kind == "list" else {"a": value} if kind == "dict" else (value,)
    return value


@pytest.mark.parametrize("kind", ["list", "dict", "tuple"])
def test_the_deepest_nesting(kind):
    deepest = nested(MAX_DEPTH + 1, kind)
    assert loads_plain(pickle.dumps(deepest, 2)) == deepest
    deeper = nested(MAX_DEPTH + 2, kind)
    shared = [1]
    for value in (deeper, [deeper, 1], [deeper, shared, shared], {"a": 1, "b": deeper, "c": 2}):
        told = line_of(pickle.dumps(value, 2))
        assert f": nested more than {MAX_DEPTH} deep; get" in told
    # depth is that of the deepest member, wherever it stands
    for value in ([deepest[:0] if kind != "dict" else {}, nested(MAX_DEPTH, kind), 1],):
        assert loads_plain(pickle.dumps(value, 2)) == value


def values_in(value):
    """Every member of every container, and every container once more; scalars alone are none."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list | tuple):
        return 0
    return 1 + len(value) + sum(values_in(member) for member in value)


SHARED = st.recursive(
    st.none() | st.integers(0, 9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.integers(0, 3), inner, max_size=3)
        | st.tuples(inner)
        | inner.map(lambda value: [value, value, 1])
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(SHARED)
def test_values_are_counted_as_often_as_they_are_named(value):
    data, count = pickle.dumps(value, 2), values_in(value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pickles, "MAX_VALUES", count)
        assert loads_plain(data) == value
        if count:
            patch.setattr(pickles, "MAX_VALUES", count - 1)
            told = f": more than {count - 1} values, counted as often as they are named; get"
            assert told in line_of(data)


def test_files(tmp_path, monkeypatch):
    path = tmp_path / "refs(unc).p"
    layout = "check the data set's folder and its layout"
    for place, reason in ((path, "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(TasError) as caught:
            load_plain(place)
        assert str(caught.value) == f"{place}: cannot be read ({reason}); {layout}"
    path.write_bytes(b"]Na.")
    monkeypatch.setattr(pickles, "MAX_BYTES", 4)
    assert load_plain(path) == load_plain(str(path)) == [None]
    monkeypatch.setattr(pickles, "MAX_BYTES", 3)
    with pytest.raises(TasError) as caught:
        load_plain(path)
    assert str(caught.value) == (
        f"{path}: 4 bytes is too large for an annotation pickle (limit 3); "
        "check that this is the published file"
    )
    assert MAX_VALUES == 1 << 26 and MAX_DEPTH == 16
    path.write_bytes(b"c")
    monkeypatch.undo()
    with pytest.raises(TasError) as caught:
        load_plain(path)
    assert str(caught.value).startswith(f"{path}: refused at byte 0: the instruction GLOBAL is")
