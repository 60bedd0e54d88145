"""A person's way in a real browser: notebooks with controls in JupyterLab, and the report.

Text of others, in every place where it is shown, stays text.

`make test-browser` runs them, with Chromium and the package playwright; screenshots lie in
results/browser afterwards. TAS_REPORT=/path/of/index.html clicks through that report instead of a
small one made for the test, and CHROMIUM names another browser of its kind.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import nbformat
import pytest
from hostile_home import DESCRIBE, make_home
from hostile_home import HOSTILE as HOSTILE_NAME
from lab import jupyterlab

from tasutils import paths

CHROMIUM = shutil.which(os.environ.get("CHROMIUM") or "chromium") or next(
    filter(None, map(shutil.which, ("chromium-browser", "google-chrome"))), None
)
try:
    from playwright.sync_api import Page, Request, TimeoutError, sync_playwright
except ModuleNotFoundError:
    sync_playwright = None

if os.environ.get("TAS_BROWSER") != "1":
    MISSING = "`make test-browser` runs the tests of a browser"
elif CHROMIUM is None:
    MISSING = "there is no Chromium here; install it (Debian: apt install chromium)"
elif sync_playwright is None:
    MISSING = "playwright is missing: pip install -c constraints.txt -e '.[browser]'"
else:
    MISSING = ""
pytestmark = [pytest.mark.browser, pytest.mark.skipif(bool(MISSING), reason=MISSING)]

HOSTILE = '<img src=x onerror="window.hacked=1"> & the "dog" on the left'
SENTENCES = ("the dog", "the brown dog", "the tree", "the dog on the left", "the small thing")
PARAMETERS = """\
picture = ""
data = "refscenes val"
number = 5
sentence = "the dog on the right"
preset = "tiny"
alpha = None
lam = None
"""
BROKEN = """async () => {
    const wrong = image => {
        image.loading = "eager";
        return image.decode().then(() => 0, () => 1);
    };
    return (await Promise.all([...document.images].map(wrong))).reduce((a, b) => a + b, 0);
}"""
HOSTILE_BOOKS = "00,02,04,05"
EXPLORER = ".jp-OutputArea-output:has(.tas-svg)"
QUICKSTART = "00_quickstart"


class Seen:
    """What a page asked for and complained about; `at` is where it may ask."""

    def __init__(self, page: "Page", at: str) -> None:
        self.at, self.outside, self.failed, self.errors = at, [], [], []
        page.on("request", self._request)
        page.on("requestfailed", lambda request: self.failed.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on(
            "console",
            lambda message: self.errors.append(message.text) if message.type == "error" else None,
        )

    def _request(self, request: "Request") -> None:
        if not request.url.startswith((self.at, "data:", "blob:")):
            self.outside.append(request.url)

    def nothing_amiss(self) -> bool:
        assert not self.outside and not self.failed and not self.errors, vars(self)
        return True


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def shots() -> Path:
    """The folder of the screenshots, empty."""
    folder = paths.RESULTS / "browser"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory, shots) -> Iterator[tuple["Page", Seen]]:
    """Notebook 00 in JupyterLab, a drawn picture as its parameters; all cells were run."""
    notebooks, own = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("lab")
    notebook = nbformat.read(paths.NOTEBOOKS / f"{QUICKSTART}.ipynb", as_version=4)
    next(cell for cell in notebook.cells if cell.id == "parameters").source = PARAMETERS
    nbformat.write(notebook, notebooks / f"{QUICKSTART}.ipynb")
    with jupyterlab(notebooks, own) as (address, token):
        page = browser.new_page(viewport={"width": 1100, "height": 1300})
        page.set_default_timeout(60_000)
        seen = Seen(page, address)
        page.goto(f"{address}/lab/workspaces/one/tree/{QUICKSTART}.ipynb?token={token}")
        page.wait_for_selector(".jp-Notebook .jp-CodeCell")
        # before that JupyterLab would ask which kernel to take
        page.locator("#jp-bottom-panel, .jp-StatusBar-Widget").get_by_text("| Idle").wait_for()
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.locator(".lm-Menu-item", has_text=re.compile("^Run All Cells")).click()
        page.wait_for_function(
            """() => {
                const said = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')]
                    .map(prompt => prompt.textContent);
                return said.length && said.every(text => /^\\[\\d+\\]:$/.test(text));
            }""",
            timeout=300_000,
        )
        page.wait_for_selector(".tas-svg path.first")
        yield page, seen
        page.screenshot(path=shots / "last.png")
        page.close()


def ask(page: "Page", sentence: str) -> None:
    """Type a sentence into the explorer and wait for its answer."""
    box = page.locator(f"{EXPLORER} input[type=text]").first
    box.fill(sentence)
    box.press("Enter")
    page.locator(".tas-view").first.get_by_text(f"“{sentence}”").first.wait_for()


def slide(page: "Page", key: str, value: float) -> None:
    """Move the slider of alpha by a key to its end and wait for the answer."""
    said = page.locator(".tas-view b").first.filter(has_text=f"+ {value:g} x P")
    for _ in range(5):  # JupyterLab takes the focus once more when all cells have run
        page.locator(f"{EXPLORER} .noUi-handle").first.press(key)
        with suppress(TimeoutError):
            return said.wait_for(timeout=10_000)
    pytest.fail(f"the slider did not go to {value:g}")


def winner(page: "Page") -> str:
    """The chosen mask of the left side, such as "m3"."""
    return page.locator(".tas-svg path.first").first.get_attribute("class").split()[0]


def shoot(page: "Page", file: Path) -> None:
    """A screenshot of the explorer, whole."""
    page.locator(EXPLORER).first.screenshot(path=file)


def test_notebook_00_runs_in_jupyterlab(lab, shots):
    page, seen = lab
    page.screenshot(path=shots / "lab.png")
    for kind in ("error", "stderr"):
        assert page.locator(f'[data-mime-type="application/vnd.jupyter.{kind}"]').count() == 0
    assert page.locator(".jp-OutputArea-output img").count() >= 5
    assert seen.nothing_amiss()


def test_a_sentence_and_a_slider_change_the_picture(lab, shots):
    page, _ = lab
    ask(page, "the dog on the left")
    left = winner(page)
    ask(page, "the dog on the right")
    assert winner(page) != left
    for sentence in SENTENCES:
        ask(page, sentence)
        slide(page, "Home", 0)
        before, drawing = winner(page), page.locator(".tas-svg").first.screenshot()
        slide(page, "End", 1)
        if winner(page) != before:
            assert page.locator(".tas-svg").first.screenshot() != drawing
            shoot(page, shots / "slider.png")
            return
    pytest.fail("the weight of P changed no answer")


def test_a_mask_and_its_row_light_up_together(lab, shots):
    page, _ = lab
    row = page.locator(".tas-view tbody tr").nth(3)
    number = row.get_attribute("class").split()[0]
    path = page.locator(f".tas-svg path.{number}").first
    look = "path => getComputedStyle(path).fillOpacity"
    page.mouse.move(0, 0)
    idle = path.evaluate(look)
    row.hover()
    assert float(path.evaluate(look)) > float(idle)
    shoot(page, shots / "hover.png")
    assert re.match(r"mask \d+, “.*”: V ", path.locator("title").text_content())


def harmless(page: "Page") -> bool:
    """Whether no script of HOSTILE ran, and no element was made of it."""
    assert page.evaluate("window.hacked") is None
    assert page.locator('img[src="x"]').count() == 0 and page.locator("[onerror]").count() == 0
    return True


@pytest.fixture(scope="module")
def hostile_report(tmp_path_factory) -> Path:
    """A report on a RefCOCO all names of which are HTML: its index.html."""
    home = make_home(tmp_path_factory.mktemp("home"))
    here = os.environ | {"TAS_HOME": str(home), "PYTHONPATH": str(paths.ROOT)}
    out = home / "out"
    for command in (
        ["-c", DESCRIBE, str(out / "scenes")],
        ["-m", "tasutils.cli", "report", "--dataset", "refcoco", "--preset", "tiny", "--split",
         "val", "--only", HOSTILE_BOOKS, "--out", str(out)],
    ):  # fmt: skip
        made = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, cwd=home, env=here
        )
        assert made.returncode == 0, made.stderr[-2000:]
    return next(out.glob("*report*/index.html"))


def test_a_report_on_hostile_data_shows_text(browser, hostile_report, shots):
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    seen, shown = Seen(page, "file:"), {}
    for file in sorted(hostile_report.parent.glob("*.html")):
        page.goto(file.as_uri())
        assert page.evaluate(BROKEN) == 0 and harmless(page), file.name
        shown[file.stem] = page.locator("body").inner_text().count(HOSTILE_NAME)
        page.screenshot(path=shots / f"hostile-{file.stem}.png", full_page=True)
    assert shown["index"] >= 2 and sum(n > 0 for n in shown.values()) >= 3, shown
    assert seen.nothing_amiss()
    page.close()


def test_a_hostile_sentence_is_only_text(lab, shots):
    page, seen = lab
    ask(page, HOSTILE)
    shoot(page, shots / "hostile.png")
    assert harmless(page)
    assert seen.nothing_amiss()


@pytest.mark.parametrize("width", [1100, 1400])
def test_two_sides_fit_into_the_page(lab, shots, width):
    page, _ = lab
    page.set_viewport_size({"width": width, "height": 1300})
    button = page.locator(f"{EXPLORER} button", has_text="side by side")
    ask(page, "the dog on the right")
    shoot(page, shots / f"one-{width}.png")
    button.click()
    page.locator(".tas-view").nth(1).wait_for()
    page.mouse.move(0, 0)
    shoot(page, shots / f"both-{width}.png")
    boxes = [view.bounding_box() for view in page.locator(".tas-view").all()]
    whole = page.locator(EXPLORER).first.bounding_box()
    assert len(boxes) == 2 and boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
    assert boxes[1]["x"] + boxes[1]["width"] <= whole["x"] + whole["width"]
    assert abs(boxes[0]["width"] - boxes[1]["width"]) < 2 and boxes[0]["width"] > 250
    assert "clip_only" in page.locator(".tas-view").nth(1).inner_text()
    button.click()
    page.wait_for_function("document.querySelectorAll('.tas-view').length == 1")


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """The index.html of a report."""
    if "TAS_REPORT" in os.environ:
        return Path(os.environ["TAS_REPORT"]).resolve()
    out = tmp_path_factory.mktemp("report")
    command = [sys.executable, "-m", "tasutils.cli", "report", "--only", "00", "--preset", "tiny"]
    command += ["--split", "val", "--limit", "1", "--out", str(out)]
    made = subprocess.run(command, capture_output=True, text=True, cwd=paths.ROOT)
    assert made.returncode == 0, made.stderr[-2000:]
    return next(out.glob("*report*/index.html"))


def test_pages_of_executed_notebooks_are_whole(browser, report, shots):
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    seen = Seen(page, "file:")
    for file in sorted(report.parent.glob("*.html")):
        page.goto(file.as_uri())
        broken = page.evaluate(BROKEN)
        page.screenshot(path=shots / f"{file.stem}.png", full_page=True)
        assert broken == 0, f"{broken} pictures of {file.name} are not to be seen"
        assert page.locator("script[src], iframe").count() == 0
        assert page.locator('[data-mime-type="application/vnd.jupyter.error"]').count() == 0
        sideways = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert sideways <= 0, f"{file.name} is {sideways} px wider than the window"
    page.goto(report.with_name("00_quickstart.html").as_uri())
    explorer = page.locator(".tas-frozen:has(.tas-svg)")
    assert "alpha (P)" in explorer.inner_text()
    explorer.locator("tbody tr").first.hover()
    explorer.screenshot(path=shots / "frozen.png")
    assert seen.nothing_amiss()
    page.close()
