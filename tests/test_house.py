"""The house: packaging, pins, make targets, and every command that the README shows."""

import ast
import re
import shlex
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tasutils import cli, paths
from tasutils.notebooks import check_parameters
from tasutils.paths import ROOT

CARD = ["jupyterlab", "torch", "segment-anything", "transformers", "open_clip_torch", "spacy"]
CARD += ["nltk", "matplotlib", "pandas", "ipywidgets", "papermill"]
IMPORT_NAMES = {
    "IPython": "ipython",
    "cv2": "opencv-python-headless",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "open_clip": "open-clip-torch",
    "PIL": "pillow",
    "yaml": "pyyaml",
    "segment_anything": "segment-anything",
    "jupyter_client": "jupyter-client",
}
EXTRAS = ("dev", "notebooks", "photo", "scale", "browser", "measure")
# what only make test-browser, make coverage and make mutants install
ON_DEMAND = {"playwright", "greenlet", "coverage", "libcst", "linkify-it-py", "mutmut"}
ON_DEMAND |= {"pytest-cov", "setproctitle", "textual", "uc-micro-py"}
README = (ROOT / "README.md").read_text(encoding="utf-8")
INSTALL = (ROOT / "notebooks/INSTALL.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pins():
    """Return the exact versions of constraints.txt by canonical name."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    parsed = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(r.name): r for r in parsed}


def blocks(kind):
    """Return the fenced blocks of the README whose info string is `kind`."""
    return re.findall(rf"^```{kind}\n(.*?)^```", README + INSTALL, flags=re.M | re.S)


def commands(*kinds):
    """Return the lines of those blocks."""
    return [line for kind in kinds for block in blocks(kind) for line in block.splitlines()]


def requirements(extra=None):
    """Return the requirements of pyproject, or those of an extra."""
    listed = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    return [Requirement(line) for line in listed]


def test_constraints_pin_exactly_what_is_required_and_installed():
    from importlib import metadata

    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert "://" not in text and " @ " not in text
    known = pins()
    for requirement in [*requirements(), *(one for name in EXTRAS for one in requirements(name))]:
        pin = known[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(next(iter(pin.specifier)).version), requirement.name
        assert pin.marker is None, requirement.name
    present = {canonicalize_name(package.name) for package in metadata.distributions()}
    for name, pin in known.items():
        (specifier,) = pin.specifier
        assert specifier.operator == "==" and not set("*+") & set(specifier.version), name
        if name not in ON_DEMAND - present and (pin.marker is None or pin.marker.evaluate()):
            installed = metadata.version(name).split("+")[0]
            assert pin.specifier.contains(installed), f"{name} {installed}, not {pin.specifier}"


def test_environment_yml_fits_pyproject_and_constraints():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["channels"][0] == "conda-forge"
    *conda, pip = environment["dependencies"]
    (python,) = (entry for entry in conda if entry.startswith("python="))
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(
        python.split("=")[1]
    )
    assert "pip" in conda
    listed = pip["pip"]
    assert listed[0] == "-c constraints.txt" and listed[-1] == "-e .[dev,notebooks,photo]"
    exact = {canonicalize_name(r.name): r for r in map(Requirement, listed[1:-1])}
    assert {canonicalize_name(name) for name in CARD} <= set(exact)  # what the order names
    listed = [*requirements(), *requirements("notebooks")]
    assert set(exact) == {canonicalize_name(r.name) for r in listed}
    known = pins()
    for name, requirement in exact.items():
        assert requirement.specifier == known[name].specifier, name


def test_every_import_of_the_package_is_declared():
    extras = [one for name in ("notebooks", "photo", "scale") for one in requirements(name)]
    declared = {canonicalize_name(r.name) for r in [*requirements(), *extras]}
    for path in (ROOT / "tasutils").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                modules = [node.module]
            for module in (m.split(".")[0] for m in modules):
                if module not in sys.stdlib_module_names and module != "tasutils":
                    package = canonicalize_name(IMPORT_NAMES.get(module, module))
                    assert package in declared, f"{path.name} imports {module}"


def test_one_version():
    import tasutils

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert tasutils.__version__ == PROJECT["version"] == citation["version"]
    assert citation["license"] == PROJECT["license"] == "Apache-2.0"
    assert "END OF TERMS AND CONDITIONS" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert citation["preferred-citation"]["title"].startswith("Text Augmented")


def test_package_data_is_packaged():
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = patterns["tool"]["setuptools"]["package-data"]["tasutils"]
    packaged = {path for pattern in patterns for path in (ROOT / "tasutils").glob(pattern)}
    for path in (ROOT / "tasutils").rglob("*"):
        if path.is_file() and path.suffix not in {".py", ".pyc"}:
            assert path in packaged, path


def test_make_targets():
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, flags=re.M).group(1).split()
    for target in phony:
        assert re.search(rf"^{target}:", MAKEFILE, flags=re.M), target
    assert re.search(r"^[a-z].*?:", MAKEFILE, flags=re.M).group().startswith("help")
    named = set(re.findall(r"`make ([a-z]+)", README)) | {
        line.split()[1] for line in commands("sh") if line.startswith("make ")
    }
    assert named <= set(phony)
    assert {"report", "test"} <= named


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")
def test_make_helps_and_names_the_missing_python(tmp_path):
    run = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "make report" in run.stdout
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("make", "sh", "rm", "mkdir", "touch"):
        (programs / name).symlink_to(shutil.which(name))
    options = {"capture_output": True, "text": True, "env": {"PATH": str(programs)}}
    run = subprocess.run(["make", "report"], cwd=tmp_path, **options)
    assert run.returncode != 0 and "tas: no Python 3.11 or newer" in run.stderr
    assert not (tmp_path / ".venv").exists()


def test_readme_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", README + INSTALL):
        assert "://" in target or (ROOT / target).exists(), target


def test_readme_commands_exist():
    """Their arguments are those of the command; the ones that run are parsed as they run."""
    shown = [line for line in commands("sh") if line.startswith("tas ")]
    assert len(shown) >= 6
    for line in shown:
        words = shlex.split(line)[1:]
        nested = 2 if words[0] in cli.GROUPS else 1
        assert cli._parser(" ".join(words[:nested])).parse_intermixed_args(words[nested:])
    named = set(re.findall(r"`tas ([a-z]+)`", README))
    assert named == {name.split()[0] for name in cli.COMMANDS}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to work in, with what the README's commands and Python speak of."""
    from tasutils.datasets import load_dataset

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    data = load_dataset("refscenes", "val")
    shutil.copy(data.image_path(data.image_ids[0]), "picture.jpg")
    (tmp_path / "data").symlink_to(paths.DATA)
    return tmp_path


@pytest.mark.slow
def test_readme_commands_run(here):
    for line in commands("sh run"):
        shell, _, line = line.rpartition(" && ")
        subprocess.run(["sh", "-c", shell], check=True)
        assert cli.main(shlex.split(line)[1:]) == 0, line
    assert len(list(here.rglob("answer.json"))) == 3 and len(list(here.rglob("run.json"))) == 1


@pytest.mark.slow
def test_readme_python_runs_and_prints_what_stands_there(here, capsys):
    first, own = blocks("python run")
    (printed,) = blocks("text")
    exec(first + "\nassert mask.shape == (240, 320)", {})
    assert capsys.readouterr().out == printed
    exec(own + "\nassert answer.best == 0", {})


def test_the_notebook_by_hand_has_such_parameters():
    (command,) = commands("sh papermill")
    program, book, _, *options = shlex.split(command)
    assert program == "papermill" and options[:2] == ["-k", "python3"]
    given = dict(zip(options[3::3], options[4::3], strict=True))
    assert set(options[2::3]) == {"-p"} and len(given) == 2
    check_parameters(ROOT / book, given)
