# Everything runs in .venv, which the first command makes. Without make: see README.md.
.POSIX:
.PHONY: help setup report study test bench house fuzz test-browser test-ray coverage mutants lint lab notebooks clean

VENV = .venv
BIN = $(VENV)/bin
READY = $(VENV)/.tas-ready
BROWSER_READY = $(VENV)/.tas-browser
MEASURE_READY = $(VENV)/.tas-measure
LAB_SETTINGS = $(VENV)/share/jupyter/lab/settings
QUIET_LAB = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}

help:
	@echo "make setup    make $(VENV) and install tasutils in it (the others do it when needed)"
	@echo "make report   the study on 40 val images of each family, browsable: a few minutes"
	@echo "make study    the study on all splits, whole"
	@echo "make lab      JupyterLab on notebooks/00_quickstart.ipynb"
	@echo "make notebooks    bring notebooks, their twins and exercises in line, and run 00 to 12 for git"
	@echo "make clean    delete the reports in results/; runs and scenes, which are reused, stay"
	@echo "make test     all tests but those in a browser"
	@echo "make test-browser    notebooks in JupyterLab, and the report, in Chromium"
	@echo "make test-ray    the engine ray in processes of its own, some of which die"
	@echo "make bench    what things cost, against plainly written loops: BENCH=\"crops store\" for some"
	@echo "make fuzz     mutated files for every reader, 2,000 each: FUZZ=500 for fewer"
	@echo "make coverage    the tests once more, counting lines and branches that none of them runs"
	@echo "make mutants  small faults in the metrics, masks, terms, rectifier and pickle reader, each"
	@echo "              of which the tests must notice"
	@echo "make house    how large the package is, and what notebooks use of it"
	@echo "make lint     ruff and mypy"

setup: $(READY)

report: $(READY)
	$(BIN)/tas report --preset photo --limit 4 --only 00,01,06
	$(BIN)/tas report --limit 40

study: $(READY)
	$(BIN)/tas report --preset photo
	$(BIN)/tas report

lab: $(READY)
	$(BIN)/python -m jupyterlab notebooks/00_quickstart.ipynb

notebooks: $(READY)
	$(BIN)/python notebooks/build.py --execute

clean:
	rm -rf results/*_report_* results/.tas-* results/browser

# The properties' examples are the same at each run; EXAMPLES=default draws new ones.
EXAMPLES = ci

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder \
	  --hypothesis-profile=$(EXAMPLES)

# Nothing else should run meanwhile. BENCH="crops --json data/bench.json": some sections, and where to.
bench: $(READY)
	$(BIN)/python tests/bench $(BENCH)

house: $(READY)
	$(BIN)/python tests/house.py

FUZZ = 2000

fuzz: $(READY)
	$(BIN)/python tests/fuzz.py $(FUZZ)

test-browser: $(BROWSER_READY)
	@command -v "$${CHROMIUM:-chromium}" >/dev/null || command -v chromium-browser >/dev/null || \
	  command -v google-chrome >/dev/null || \
	  echo "tas: no Chromium was found, so nothing is tested in it; install one" \
	    "(Debian: apt install chromium) or name it: make test-browser CHROMIUM=/path/to/chrome" >&2
	TAS_BROWSER=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -rs tests/test_browser.py

test-ray: $(READY)
	TAS_RAY=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -rs tests/test_ray.py

coverage: $(MEASURE_READY)
	status=0; OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile \
	  --no-loadscope-reorder -m "not unmeasured" --hypothesis-profile=ci \
	  --cov --cov-report=json:.coverage.json || status=$$?; \
	  $(BIN)/python tests/covered.py .coverage.json; exit $$status

# A fault may be a loop that asks for memory without end; hence the bound, in KiB.
mutants: $(MEASURE_READY)
	rm -rf mutants
	ulimit -v 8000000; OMP_NUM_THREADS=1 $(BIN)/python -m mutmut run
	$(BIN)/python -m mutmut results

lint: $(READY)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

# The first interpreter that is new enough and can make environments. PYTHON=... chooses another.
$(BIN)/python:
	@found=; \
	for candidate in $(PYTHON) python3.11 python3.12 python3.13 python3.14 python3 python; do \
	  if $$candidate -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' \
	    >/dev/null 2>&1; then found=$$candidate; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "tas: no Python 3.11 or newer with venv was found; install one" \
	    "(Debian: apt install python3-venv) or name it: make PYTHON=/path/to/python" >&2; \
	  exit 1; \
	fi; \
	echo "making $(VENV) with $$found"; \
	$$found -m venv $(VENV)

# Made anew when a requirement changes; .venv itself is kept.
$(READY): pyproject.toml constraints.txt
	@rm -f $(READY)
	@$(MAKE) --no-print-directory $(BIN)/python
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev,notebooks,photo]'
	$(BIN)/python -m ipykernel install --sys-prefix --name tasutils --display-name "TAS (tasutils)"
	@mkdir -p $(LAB_SETTINGS)
	@echo '$(QUIET_LAB)' > $(LAB_SETTINGS)/overrides.json
	@touch $(READY)

$(BROWSER_READY): $(READY)
	$(BIN)/python -m pip install -c constraints.txt -e '.[browser]'
	@touch $(BROWSER_READY)

$(MEASURE_READY): $(READY)
	$(BIN)/python -m pip install -c constraints.txt -e '.[measure]'
	@touch $(MEASURE_READY)
