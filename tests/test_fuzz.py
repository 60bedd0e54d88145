"""Mutated files of every reader: fifty here, 20,000 by `make fuzz`; and what those have found."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from fuzz.readers import READERS
from fuzz.run import fuzz

pytestmark = pytest.mark.skipif(os.name != "posix", reason="limits of memory and time are POSIX's")

#: inputs that once ended otherwise than read or refused in one line, by reader and number
FOUND = {
    "refcoco": [299], "refcoco doctor": [422, 1903], "phrasecut": [112, 239], "own data": [42],
    "masks": [2543], "archives": [21, 143, 994], "merges": [7], "scenes": [1, 12, 14, 39, 41],
    "presets": [5, 95], "weights": [64, 90, 661],
}  # fmt: skip


@pytest.fixture(scope="module")
def outcomes():
    def tried(name):
        counts, faults = fuzz(name, [*range(100_000, 100_050), *FOUND.get(name, ())])
        return sum(counts.values()), faults

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(READERS, pool.map(tried, READERS), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_a_mutated_file_is_read_or_refused_in_one_line(outcomes, name):
    n_inputs, faults = outcomes[name]
    assert n_inputs == 50 + len(FOUND.get(name, ())) and not faults


def test_the_fuzzer_sees_crashes_hangs_and_greed(tmp_path, monkeypatch):
    """Else the tests above would prove nothing."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'fuzz.worker' in sys.orig_argv:\n"
        "    import fuzz.readers as r\n"
        "    def seeds(): return [{'s.txt': b'x' * 9}]\n"
        "    def read(folder, n=[-1]):\n"
        "        n[0] += 1\n"
        "        if n[0] == 1: raise KeyError('k')\n"
        "        if n[0] == 2: os.abort()\n"
        "        if n[0] == 3: bytearray(1 << 31)\n"
        "    r.READERS['sentences'] = r.Reader(seeds, read)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    _, faults = fuzz("sentences", range(3))
    assert "KeyError" in faults[0] and "SIGABRT" in faults[1]
