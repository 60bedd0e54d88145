"""Mutated files of every reader: twenty each here, more by `make fuzz`."""

import os

import fuzz
import pytest


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="limits of memory and time are POSIX's")
@pytest.mark.parametrize("name", fuzz.READERS)
def test_a_mutated_file_is_read_or_refused_in_one_line(name):
    assert fuzz.fuzz(name, range(20)) == []
