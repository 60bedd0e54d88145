"""Mutated files of every reader: twenty here, 20,000 by `make fuzz`; and what those have found."""

import os

import pytest
from fuzz.readers import READERS
from fuzz.run import fuzz

pytestmark = pytest.mark.skipif(os.name != "posix", reason="limits of memory and time are POSIX's")

NEW = range(100_000, 100_020)
#: inputs that once ended otherwise than read or refused in one line, by reader and number
FOUND = {
    "refcoco": [299], "refcoco doctor": [422, 1903], "phrasecut": [112, 239], "own data": [42],
    "masks": [2543], "archives": [21, 143, 994], "merges": [7], "tokenizers": [864],
    "scenes": [1, 12, 14, 39, 41, 1917, 2710], "presets": [5, 95],
    "weights": [64, 90, 661, 1368, 2626, 2962, 4635], "mirror": [5954, 7021, 7932, 8474, 18633],
}  # fmt: skip


@pytest.fixture(scope="module")
def outcomes():
    return fuzz({name: [*NEW, *FOUND.get(name, ())] for name in READERS})


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_a_mutated_file_is_read_or_refused_in_one_line(outcomes, name):
    counts, faults = outcomes[name]
    assert sum(counts.values()) == len(NEW) + len(FOUND.get(name, ())) and not faults


def test_the_fuzzer_sees_crashes_hangs_and_greed(tmp_path, monkeypatch):
    """Else the tests above would prove nothing."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'fuzz.worker' in sys.orig_argv:\n"
        "    import fuzz.readers as r\n"
        "    from pathlib import Path\n"
        "    def seeds(): return [{'s.txt': b'x' * 9}]\n"
        "    def read(folder, known=Path(__file__).with_name('count')):\n"
        "        n = int(known.read_text()) if known.exists() else 0\n"
        "        known.write_text(str(n + 1))\n"
        "        if n == 1: raise KeyError('k')\n"
        "        if n == 2: os.abort()\n"  # 3 is what the next process begins from
        "        if n == 4: bytearray(1 << 31)\n"
        "        while n == 5: pass\n"
        "    r.READERS['sentences'] = r.Reader(seeds, read, seconds=1)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    ((counts, faults),) = fuzz({"sentences": range(5)}).values()
    assert [fault.split()[1] for fault in faults] == ["0:", "1:", "2:", "3:"] and counts["ok"] == 1
    told = ["KeyError", "SIGABRT", "MemoryError", "the clock"]
    assert all(words in fault for words, fault in zip(told, faults, strict=True))
