"""notebooks/build.py as a module, for the tests of notebooks, twins and exercises."""

import importlib.util
import sys

from tasutils import paths

_PLACE = paths.ROOT / "notebooks" / "build.py"
_spec = importlib.util.spec_from_file_location("notebooks_build", _PLACE)
assert _spec is not None and _spec.loader is not None
build = importlib.util.module_from_spec(_spec)
sys.modules["notebooks_build"] = build
_spec.loader.exec_module(build)
