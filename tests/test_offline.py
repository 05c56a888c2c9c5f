"""While the tests run, the network is cut off: here, in the processes that they start, in Jupyter and in Chromium."""

import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import house
import nbformat
import pytest
from browser import browser_page, need_browser
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from offline import sitecustomize

ADDRESS = "192.0.2.1"  # for documentation: it is nobody's, so where the cut fails, nobody is disturbed
OUTSIDE = {  # what a program may try, and what of it the error names
    f"socket.create_connection(('{ADDRESS}', 80), timeout=1)": ADDRESS,
    f"socket.socket().connect(('{ADDRESS}', 80))": f"{ADDRESS}:80",
    f"socket.socket().connect_ex(('{ADDRESS}', 80))": f"{ADDRESS}:80",
    "socket.socket(socket.AF_INET6).connect(('2001:db8::1', 80))": "2001:db8::1:80",
    f"socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('{ADDRESS}', 53))": f"{ADDRESS}:53",
    f"socket.socket(type=socket.SOCK_DGRAM).sendmsg([b'x'], [], 0, ('{ADDRESS}', 53))": f"{ADDRESS}:53",
    "socket.getaddrinfo('example.org', 80)": "example.org",
    "socket.getaddrinfo(b'example.org', 80)": "example.org",
    "socket.gethostbyname('example.org')": "example.org",
    f"socket.gethostbyaddr('{ADDRESS}')": ADDRESS,
    f"socket.getnameinfo(('{ADDRESS}', 80), 0)": ADDRESS,
    "urllib.request.urlopen('http://example.org')": "example.org",
}
SCRIPT = """
import socket, sys, urllib.request
for attempt in {attempts}:
    try:
        eval(attempt)
    except OSError as error:
        print(error)
    else:
        print("it was let through:", attempt)
"""
WORDS = "was asked for, and the tests run without a network"


@pytest.fixture
def server():
    """The address of a server on this machine, which answers "here"."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"here")

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()


def read(address):
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy would not find this machine
    with direct.open(address, timeout=20) as answer:
        return answer.read()


# --- in this process --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attempt", OUTSIDE)
def test_what_leaves_this_machine_is_an_error_that_names_the_address(attempt, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(OSError, match=WORDS) as caught:
        eval(attempt, {"socket": socket, "urllib": urllib})
    assert OUTSIDE[attempt] in str(caught.value)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_this_machine_can_be_reached(server, name):
    assert read(server.replace("127.0.0.1", name)) == b"here"


def test_this_machine_can_be_asked_for_by_all_its_names():
    for name in (None, "localhost", "127.0.0.1", b"127.0.0.1"):
        assert socket.getaddrinfo(name, 80)
    assert sitecustomize.is_here(socket.gethostname())
    assert sitecustomize.is_here("::1")


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no such sockets")
def test_sockets_that_are_files_and_pairs_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the path of such a socket is short
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as calling:
        listening.bind("socket")
        listening.listen()
        calling.connect("socket")
    one, other = socket.socketpair()
    with one, other:
        one.sendmsg([b"x"])
        assert other.recv(1) == b"x"


# --- in what the tests start ------------------------------------------------------------------------------------


def test_a_python_that_is_started_is_cut_off_and_reaches_this_machine(server):
    code = SCRIPT.format(attempts=list(OUTSIDE)) + f"print(urllib.request.urlopen('{server}').read())"
    bare = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run([sys.executable, "-c", code], env=bare, capture_output=True, text=True)
    *said, answer = done.stdout.splitlines()
    assert answer == "b'here'", done.stderr
    for line, named in zip(said, OUTSIDE.values(), strict=True):
        assert named in line and WORDS in line


def test_a_kernel_of_jupyter_is_cut_off():
    attempt = next(iter(OUTSIDE))
    notebook = new_notebook(cells=[new_code_cell(SCRIPT.format(attempts=[attempt]))])
    NotebookClient(notebook, timeout=60).execute()
    said = notebook.cells[0].outputs[0].text
    assert OUTSIDE[attempt] in said and WORDS in said


def test_what_stood_on_the_path_of_python_and_its_own_sitecustomize_stay(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import builtins\nbuiltins.hidden = True\n")
    (tmp_path / "neighbour.py").write_text("here = True\n")
    ours = str(Path(sitecustomize.__file__).parent)
    assert ours in os.environ["PYTHONPATH"].split(os.pathsep)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([ours, str(tmp_path)])}
    code = "import json, neighbour, sitecustomize; print(json.dumps([sitecustomize.__file__, hidden, neighbour.here]))"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert json.loads(done.stdout) == [str(Path(ours) / "sitecustomize.py"), True, True]


def test_chromium_is_cut_off_and_reaches_this_machine(server):
    from playwright.sync_api import Error

    need_browser()
    with browser_page() as page:
        assert page.goto(server).text() == "here"
        for outside in (f"http://{ADDRESS}/", "http://example.org/"):
            with pytest.raises(Error, match="ERR_NAME_NOT_RESOLVED"):
                page.goto(outside, timeout=10_000)


def test_lessons_are_cut_off_even_when_they_are_run_by_themselves(tmp_path):
    """pytest reads a conftest.py that lies in the folder it is asked for or above it, not beside it."""
    for name in ("pyproject.toml", "conftest.py"):
        shutil.copy(house.ROOT / name, tmp_path)
    shutil.copytree(house.ROOT / "tests" / "offline", tmp_path / "tests" / "offline")
    source = f"import socket\nsocket.create_connection(({ADDRESS!r}, 80), timeout=1)"
    (tmp_path / "notebooks").mkdir()
    nbformat.write(new_notebook(cells=[new_code_cell(source)]), tmp_path / "notebooks" / "lesson.ipynb")
    alone = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHONPATH", "PYTEST_"))}
    command = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", "notebooks"]
    done = subprocess.run(command, cwd=tmp_path, env=alone, capture_output=True, text=True)
    assert "the tests run without a network" in done.stdout
