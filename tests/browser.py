"""Open notebooks in JupyterLab with a headless Chromium, as a learner would see them.

`python tests/browser.py notebooks/01_x.ipynb OUT [--run] [--dark]` saves a picture of each cell to the folder OUT.
Nothing leaves the machine: the server listens on 127.0.0.1, the news and the extension manager are off, and Chromium
finds no other address.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",  # no other machine
]
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # else only the cells in sight exist
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
}
FAILED = (  # a traceback is shown under the one or the other name, by JupyterLab's version
    "[data-mime-type='application/vnd.jupyter.stderr'] .ansi-red-fg, [data-mime-type='application/vnd.jupyter.error']"
)
TALLEST = 8000  # pixels of one picture; a cell beyond is cut off
FRAME = 200  # pixels of JupyterLab around the notebook


def find_chromium() -> str | None:
    """The path of a Chromium, or None where there is none."""
    return next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)


def need_browser(*modules: str) -> None:
    """Skip a test where no Chromium is, or a module is missing; in CI, where that would go unnoticed, fail."""
    import pytest

    missing = [f"{module} is not installed" for module in ("playwright", *modules) if not find_spec(module)]
    if find_chromium() is None:
        missing.append("there is no Chromium on the path, which this test drives")
    if missing:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(missing[0])


@contextlib.contextmanager
def jupyterlab(folder: Path, *, dark: bool = False, wait: float = 60) -> Iterator[str]:
    """Start JupyterLab on `folder`, with settings of its own, and give its address; stop it at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as own:
        _write_settings(Path(own) / "settings", dark)
        places = {name: f"{own}/{name.lower()}" for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}
        places |= {"JUPYTERLAB_SETTINGS_DIR": f"{own}/settings", "JUPYTERLAB_WORKSPACES_DIR": f"{own}/workspaces"}
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--notebook-dir={folder}"]
        command += ["--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
        command += ["--IdentityProvider.token=", "--ServerApp.password=", "--LabApp.news_url="]
        command += ["--LabApp.extension_manager=readonly"]
        with (Path(own) / "log").open("w+") as log:
            server = subprocess.Popen(command, env=os.environ | places, stdout=log, stderr=subprocess.STDOUT)
            try:
                if not _answers(f"{url}/api/status", server, wait):
                    log.seek(0)
                    raise RuntimeError(f"JupyterLab did not start within {wait:.0f} s; it said: {log.read()[-2000:]}")
                yield url
            finally:
                server.terminate()  # it shuts its kernels down, too
                try:
                    server.wait(15)
                except subprocess.TimeoutExpired:
                    server.kill()
                    server.wait()


def _write_settings(folder: Path, dark: bool) -> None:
    theme = "JupyterLab Dark" if dark else "JupyterLab Light"
    for name, setting in (SETTINGS | {"apputils-extension/themes": {"theme": theme}}).items():
        file = folder / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(setting))


def _answers(address: str, server: subprocess.Popen, wait: float) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy would not find this machine
    end = time.monotonic() + wait
    while time.monotonic() < end and server.poll() is None:
        with contextlib.suppress(urllib.error.URLError, OSError), direct.open(address, timeout=5):
            return True
        time.sleep(0.1)
    return False


@contextlib.contextmanager
def browser_page(*, width: int = 1150, height: int = 1000):
    """A page of a headless Chromium, as playwright's `Page`; RuntimeError where there is no Chromium."""
    from playwright.sync_api import sync_playwright

    chromium = find_chromium()
    if chromium is None:
        raise RuntimeError(f"there is no Chromium: none of {', '.join(CHROMIUM_NAMES)} is on the path")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        try:
            yield browser.new_page(viewport={"width": width, "height": height})
        finally:
            browser.close()


class LabNotebook:
    """A notebook that is open in JupyterLab: its cells can be run and photographed."""

    def __init__(self, page, url: str, path: str):
        """Open `path`, relative to the folder that the server at `url` shows."""
        self.page = page
        page.goto(f"{url}/lab/tree/{path}?reset", timeout=60_000)  # reset: without an earlier layout
        self.cells = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook .jp-Cell")
        self.cells.first.wait_for(timeout=60_000)
        if page.locator(".jp-FileBrowser").is_visible():
            page.keyboard.press("Control+b")  # the file browser takes a third of the width
        page.wait_for_timeout(500)

    def run_cell(self, k: int, *, timeout: float = 120) -> None:
        """Run cell k and wait until it is done."""
        self.cells.nth(k).locator(".jp-InputArea-editor").click()
        self.page.keyboard.press("Control+Enter")
        from playwright.sync_api import expect

        prompt = self.cells.nth(k).locator(".jp-InputPrompt")
        with contextlib.suppress(AssertionError):  # a quick cell may be done already
            expect(prompt).to_have_text("[*]:", timeout=500)
        expect(prompt).to_have_text(re.compile(r"\[\d+\]"), timeout=timeout * 1000)

    def type_and_run(self, k: int, source: str, *, timeout: float = 120) -> None:
        """Put `source` in place of what stands in cell k, and run it."""
        self.cells.nth(k).locator(".jp-InputArea-editor").click()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.insert_text(source)
        self.run_cell(k, timeout=timeout)

    def run_all(self, *, timeout: float = 600) -> int | None:
        """Run the code cells one after the other; the number of the first that fails, where it stops, or None."""
        for k in range(self.cells.count()):
            if "jp-CodeCell" in (self.cells.nth(k).get_attribute("class") or ""):
                self.run_cell(k, timeout=timeout)
                if self.output(k).locator(FAILED).count():
                    return k
        return None

    def output(self, k: int):
        """The output of cell k, as playwright's `Locator`."""
        return self.cells.nth(k).locator(".jp-Cell-outputWrapper")

    def photograph(self, k: int, file: Path) -> None:
        """Save a picture of cell k, the whole of it: the window grows as far as the cell needs."""
        width, height = (self.page.viewport_size[side] for side in ("width", "height"))
        box = self.cells.nth(k).bounding_box()
        tall = min(TALLEST, int(box["height"]) + FRAME)
        if tall > height:
            self.page.set_viewport_size({"width": width, "height": tall})
        try:
            self.cells.nth(k).screenshot(path=file)
        finally:
            self.page.set_viewport_size({"width": width, "height": height})

    def photograph_all(self, folder: Path) -> list[Path]:
        """Save a picture of every cell to `folder`, as cell_000.png and so on."""
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / f"cell_{k:03d}.png" for k in range(self.cells.count())]
        for k, file in enumerate(files):
            self.photograph(k, file)
        return files


def photograph_notebook(notebook: Path, out: Path, *, run: bool = False, dark: bool = False) -> list[Path]:
    """Open a copy of a notebook in JupyterLab and save a picture of each cell to the folder `out`.

    With `run`, the cells are run first, up to the first that fails; else the pictures show the outputs that are
    saved in the notebook. Returns the pictures' files.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        shutil.copy(notebook, folder)
        for beside in ("pictures", "results"):  # what a lesson shows and reads
            if (notebook.parent / beside).is_dir():
                shutil.copytree(notebook.parent / beside, Path(folder) / beside)
        with jupyterlab(Path(folder), dark=dark) as url, browser_page() as page:
            opened = LabNotebook(page, url, notebook.name)
            if run and (failed := opened.run_all()) is not None:
                print(f"cell {failed} failed", file=sys.stderr)
            return opened.photograph_all(out)


def main() -> None:
    parser = argparse.ArgumentParser(description="Save a picture of each cell of a notebook, as JupyterLab shows it.")
    parser.add_argument("notebook", type=Path)
    parser.add_argument("out", type=Path, help="the folder for the pictures")
    parser.add_argument("--run", action="store_true", help="run all cells first")
    parser.add_argument("--dark", action="store_true", help="in JupyterLab's dark theme")
    arguments = parser.parse_args()
    if not arguments.notebook.is_file():
        parser.error(f"there is no notebook at {arguments.notebook}")
    files = photograph_notebook(arguments.notebook, arguments.out, run=arguments.run, dark=arguments.dark)
    print(f"{len(files)} pictures in {arguments.out}")


if __name__ == "__main__":
    main()
