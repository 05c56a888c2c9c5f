"""The rules of the house: functions from text to a list of problems, so that each can be seen to find.

The tests that apply them to the repository: test_architecture, test_notebooks, test_readme.
"""

import ast
import importlib
import inspect
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "minigen"

FLOORS = {
    "images": 0,
    "runtime": 0,
    "layers": 0,
    "data": 1,
    "text": 1,
    "training": 1,
    "metrics": 1,
    "classifier": 2,
    "gan": 2,
    "vae": 2,
    "style": 2,
    "denoiser": 2,
    "diffusion": 2,
    "painter": 3,
    "pretrained": 3,
    "exercises": 3,
    "widgets": 3,
    "recipes": 4,
    "cli": 4,
}

# A folder of one machine: it exists nowhere else
MACHINE_PATH = re.compile(r"(?<![\w.:~/-])/(?:home|root|Users|tmp|mnt|opt)/|(?<!\w)[C-Z]:\\{1,2}(?=[A-Z])")


def repository_files() -> list[Path]:
    """What is committed or would be: everything but what .gitignore names."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listing.returncode == 0:
        return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]
    shunned = {"build", "dist", "venv", "__pycache__"}  # no git here, as in an unpacked archive
    return [
        path
        for path in ROOT.rglob("*")
        if path.is_file()
        and not any(
            part in shunned or part.endswith(".egg-info") or (part.startswith(".") and part != ".ci")
            for part in path.relative_to(ROOT).parts[:-1]
        )
    ]


def module_name(path: Path) -> str:
    """minigen/data/base.py -> minigen.data.base"""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


# --- imports ------------------------------------------------------------------------------------------------


def imported_modules(source: str, package: str) -> Iterator[tuple[int, str]]:
    """Line and absolute name of all that a module imports, also inside functions and by `import_module`.

    `package` is what relative imports start from. `from a import b` counts as a.b: b may be a module.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from ((node.lineno, text) for text in _strings(node.args[:1]))


def _strings(nodes: Iterable[ast.expr]) -> list[str]:
    """The values of those nodes that are string literals."""
    return [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]


def floor_problems(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """Imports of a module that go up, or sideways to another room on its own floor."""
    if module == "minigen":
        room, floor = None, -1
    else:
        room = module.split(".")[1]
        if room not in FLOORS:
            return [f"{module}: no floor is known for {room!r}; give it one in FLOORS of tests/house.py"]
        floor = FLOORS[room]
    problems = []
    for line, name in imported_modules(source, module if is_package else module.rpartition(".")[0]):
        parts = name.split(".")
        if parts[0] != "minigen" or len(parts) == 1 or parts[1] == room:
            continue
        if parts[1] not in FLOORS:
            if (PACKAGE / parts[1]).is_dir() or (PACKAGE / f"{parts[1]}.py").is_file():
                problems.append(f"{module}:{line} imports {name}, a room without a floor")
        elif FLOORS[parts[1]] >= floor:
            way = "sideways" if FLOORS[parts[1]] == floor else "up"
            problems.append(f"{module}:{line} imports {name} from floor {FLOORS[parts[1]]}: {way} from floor {floor}")
    return problems


def foreign_modules(source: str, *, top_level_only: bool = False) -> set[str]:
    """The other packages that a module imports, by their top name; its own relative imports not among them.

    With `top_level_only` those that importing the module needs: not those inside functions or under `try`.
    """
    tree = ast.parse(source)
    nodes = tree.body if top_level_only else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.split(".")[0])
    return found


# --- code that is not wanted --------------------------------------------------------------------------------

_UNPICKLING = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def loading_problems(source: str) -> list[str]:
    """Places that unpickle what they read: a file could then run code."""
    problems = [
        f"line {line} imports {name}, and nothing is ever unpickled"
        for line, name in imported_modules(source, "")
        if name.split(".")[0] in _UNPICKLING
    ]
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        given = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
        if called in ("torch.load", "torch.hub.load_state_dict_from_url") and given.get("weights_only") is not True:
            problems.append(f"line {node.lineno} calls {called} without weights_only=True")
        if given.get("allow_pickle"):
            problems.append(f"line {node.lineno} calls {called} with allow_pickle=True")
    return problems


_CONTAINERS = {"Sequential", "ModuleList", "ModuleDict", "add_module", "Lambda"}


def submodule_problems(source: str) -> list[str]:
    """Lambdas and closures kept in objects: a deep copy of the object goes on calling the original."""
    problems = []
    for method in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)):
        inner = {f.name for f in ast.walk(method) if isinstance(f, ast.FunctionDef) and f is not method}
        for node in ast.walk(method):
            if isinstance(node, (ast.Assign, ast.AnnAssign)):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                kept = any(ast.unparse(target).startswith("self.") for target in targets)
                closure = isinstance(node.value, ast.Name) and node.value.id in inner
                if kept and (isinstance(node.value, ast.Lambda) or closure):
                    problems.append(f"line {node.lineno} keeps a lambda or closure in an object")
            elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in _CONTAINERS:
                parts = [part for child in ast.iter_child_nodes(node) for part in ast.walk(child)]
                if any(isinstance(part, ast.Lambda) for part in parts):
                    problems.append(f"line {node.lineno} makes a lambda a sub-module")
    return problems


def machine_paths(text: str) -> list[str]:
    """Paths of one machine in a text, with a little of what surrounds them."""
    return [text[max(0, m.start() - 20) : m.end() + 20].strip() for m in MACHINE_PATH.finditer(text)]


# --- names of minigen in notebooks and README ---------------------------------------------------------------


def unknown_names(code: str) -> list[str]:
    """The names of minigen that some code imports or reaches by attribute, and that do not exist."""
    tree = _parse(code)
    known, problems = {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "minigen":
                    if _find(alias.name) is None:
                        problems.append(alias.name)
                    else:
                        known[alias.asname or "minigen"] = _find(alias.name if alias.asname else "minigen")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "minigen":
            for alias in node.names:
                thing = _find(f"{node.module}.{alias.name}")
                if thing is None and alias.name != "*":
                    problems.append(f"{node.module}.{alias.name}")
                known[alias.asname or alias.name] = thing
    # A name that is also given another meaning can't be followed; running the code checks it
    rebound = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    rebound |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
    for node in ast.walk(tree):
        chain = _chain(node) if isinstance(node, ast.Attribute) else None
        if not chain or chain[0] not in known or chain[0] in rebound:
            continue
        thing = known[chain[0]]
        for k, name in enumerate(chain[1:], 2):
            if not isinstance(thing, ModuleType) and not inspect.isclass(thing):
                break
            if not hasattr(thing, name):
                problems.append(".".join(chain[:k]))
                break
            thing = getattr(thing, name)
    return sorted(set(problems))


def _find(name: str) -> object | None:
    """The module or the member of a module with that dotted name, or None."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        module, _, member = name.rpartition(".")
        if not module:
            return None
        return getattr(_find(module), member, None)


def _chain(node: ast.expr) -> list[str] | None:
    """a.b.c -> ["a", "b", "c"]; None for an attribute of anything but a name."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute) and (rest := _chain(node.value)):
        return [*rest, node.attr]
    return None


def _parse(code: str) -> ast.Module:
    """Python as a notebook allows it: with magics, shell lines and top-level await."""
    plain = TransformerManager().transform_cell(code)
    return compile(plain, "<cell>", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


# --- notebooks ----------------------------------------------------------------------------------------------

MAX_BYTES = 500_000
_SKIP_TAGS = {"nbval-skip", "skip-execution"}
_TQDM = re.compile(r"\[\d+:\d\d(:\d\d)?(<|,)")  # every bar of tqdm's shows its time so
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_FENCE = re.compile(r"^ {0,3}(```|~~~).*?^ {0,3}\1[^\n]*$", re.M | re.S)
_NETWORK = {
    "requests",
    "urllib",
    "httpx",
    "aiohttp",
    "socket",
    "wget",
    "gdown",
    "kagglehub",
    "huggingface_hub",
}
_MERELY_SHOWN = {"print", "display", "Markdown", "HTML", "Link", "IFrame"}


def notebook_problems(notebook: dict, *, name: str, folder: Path) -> list[str]:
    """What is wrong with a lesson, in sentences that name the cell; `folder` is where its links start."""
    problems = []
    if not re.fullmatch(r"\d\d_[a-z0-9]+(_[a-z0-9]+)*\.ipynb", name):
        problems.append(f"it is called {name}, expected NN_words.ipynb in lower case")
    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        problems.append(f"it is no valid notebook: {str(error).splitlines()[0]}")
    size = len((nbformat.writes(notebook) + "\n").encode())
    if size > MAX_BYTES:
        problems.append(f"it has {size:,} bytes, at most {MAX_BYTES:,}")
    if "widgets" in notebook["metadata"]:
        problems.append("metadata.widgets is saved, at which GitHub refuses the page")
    if notebook["metadata"].get("kernelspec", {}).get("name") != "python3":
        problems.append("its kernelspec is not python3")

    prose = [(k, c["source"]) for k, c in enumerate(notebook["cells"]) if c["cell_type"] == "markdown"]
    code = [(k, c) for k, c in enumerate(notebook["cells"]) if c["cell_type"] == "code"]
    problems += _order_problems(code)
    for k, cell in enumerate(notebook["cells"]):
        if not cell["source"].strip():
            problems.append(f"cell {k} is empty")
        problems += [f"cell {k} holds a machine's path: {found}" for found in machine_paths(cell["source"])]
    for k, cell in code:
        problems += [f"cell {k} {problem}" for problem in _code_problems(cell["source"])]
        for output in cell["outputs"]:
            problems += [f"cell {k} {problem}" for problem in _output_problems(output)]
    problems += _prose_problems(prose, folder)
    problems += _file_problems(code, folder)
    problems += _exercise_problems(code)
    problems += _note_problems(notebook["cells"])
    problems += _figure_problems(notebook["cells"])

    everything = "\n".join(cell["source"] for _, cell in code)
    try:
        problems += [f"{name} does not exist" for name in unknown_names(everything)]
    except SyntaxError as error:
        problems.append(f"its code is no Python: {error.msg}")
    words = "\n".join([*(text for _, text in prose), *(_texts(cell["outputs"]) for _, cell in code)])
    if re.search(r"\bEmoji(Glyphs|Scenes)\b", everything) and not ("OpenMoji" in words and "CC BY-SA 4.0" in words):
        problems.append("it shows emoji without naming OpenMoji and CC BY-SA 4.0 in what a reader sees")
    return problems


def _order_problems(code: list[tuple[int, dict]]) -> list[str]:
    """Cells that were not run in order from 1 on; one that is to be skipped needs both of its tags."""
    if code and all(cell["execution_count"] is None for _, cell in code):
        return ["it has not been run"]
    problems, expected = [], 1
    for k, cell in code:
        tags = _SKIP_TAGS & set(cell["metadata"].get("tags", []))
        if len(tags) == 1:
            problems.append(
                f"cell {k} is tagged {min(tags)} alone; to be skipped it needs both {' and '.join(sorted(_SKIP_TAGS))}"
            )
        if tags:
            continue
        if cell["execution_count"] != expected:
            problems.append(f"cell {k} has execution count {cell['execution_count']}, expected {expected}")
        expected += 1
    return problems


CHECK = "verdict = {0}.check()\nassert verdict, verdict\nverdict"  # so that a wrong answer, too, ends in its verdict
_ANSWER_BEGINS, _ANSWER_ENDS = "### BEGIN SOLUTION", "### END SOLUTION"


def nbgrader_metadata(exercise: str, *, is_check: bool) -> dict:
    """What nbgrader is told of an exercise's check, which is locked and gives a point, or of its answer."""
    told = {"schema_version": 3, "task": False, "grade": is_check, "locked": is_check, "solution": not is_check}
    return told | ({"grade_id": exercise, "points": 1} if is_check else {"grade_id": f"{exercise}_answer"})


def _exercise_problems(code: list[tuple[int, dict]]) -> Iterator[str]:
    """Exercises that are not two cells, the answer and right after it the check, each as nbgrader wants it."""
    imports = re.compile(r"^from minigen\.exercises\.\w+ import (.+)$", re.M)
    names = [name.strip() for _, cell in code for line in imports.findall(cell["source"]) for name in line.split(",")]
    expected = {}  # number of a cell -> what nbgrader should be told of it
    for name in names:
        checks = [n for n, (_, cell) in enumerate(code) if cell["source"] == CHECK.format(name)]
        if len(checks) != 1:
            yield f"exercise {name} has {len(checks)} cells that check it and do nothing else, expected 1"
        for n in checks:
            k = code[n][0]
            expected[k] = nbgrader_metadata(name, is_check=True)
            if n == 0 or code[n - 1][0] != k - 1:
                yield f"cell {k} checks exercise {name}, and no answer stands right before it"
            else:
                expected[k - 1] = nbgrader_metadata(name, is_check=False)
    for k, cell in code:
        told, should = cell["metadata"].get("nbgrader"), expected.get(k)
        if told != should:
            yield f"cell {k} tells nbgrader {told}, expected {should}"
        marks = re.findall(r"^ *(### .+ SOLUTION)$", cell["source"], re.M)
        is_answer = should is not None and not should["grade"]
        if marks != [_ANSWER_BEGINS, _ANSWER_ENDS] * is_answer:
            yield f"cell {k} has the marks {marks}, expected {'those of one solution' if is_answer else 'none'}"


_FILE = re.compile(r"\.(png|jpe?g|gif|json|csv|txt|npy|npz|pt|pth|safetensors)$", re.I)


def _file_problems(code: list[tuple[int, dict]], folder: Path) -> Iterator[str]:
    """Files that a lesson names to read, and that neither lie beside it nor were written by a cell before."""
    written = set()
    for k, cell in code:
        try:
            tree = _parse(cell["source"])
        except SyntaxError:
            continue  # reported once for the whole notebook
        calls = sorted(
            (node for node in ast.walk(tree) if isinstance(node, ast.Call)),
            key=lambda call: (call.lineno, call.col_offset, -(call.end_col_offset or 0)),
        )
        for call in calls:
            writes = ast.unparse(call.func).split(".")[-1].startswith(("save", "write"))
            # Path("x").write_text(...) has the name in what it is called on; any other call in its arguments
            given = [*call.args, *(word.value for word in call.keywords), *(ast.walk(call.func) if writes else ())]
            for name in (_file_name(node) for node in given):
                if name and writes:
                    written.add(name)
                elif name and name not in written and not (folder / name).exists():
                    yield f"cell {k} reads {name}, which is not beside it and was not saved before"


def _file_name(node: ast.AST) -> str | None:
    """The name of a file that a string spells, {braces} included."""
    if isinstance(node, ast.JoinedStr):
        name = "".join(
            part.value if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}" for part in node.values
        )
    else:
        name = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
    return name if _FILE.search(name) and not re.search(r"^[a-z]+://|[*?]", name) else None  # no address, no pattern


def _note_problems(cells: list[dict]) -> Iterator[str]:
    """Teaching notes that a learner could stumble over: they are folded, and `minigen teacher` unfolds them."""
    for k, cell in enumerate(cells):
        is_note = "teacher" in cell["metadata"].get("tags", [])
        folded = re.fullmatch(r"<details>\n<summary>For teachers</summary>\n\n.+\n\n</details>", cell["source"], re.S)
        if is_note != bool(folded):
            yield f"cell {k} is {'' if is_note else 'not '}tagged teacher, and {'not ' if is_note else ''}a folded note"


def _figure_problems(cells: list[dict]) -> Iterator[str]:
    """Figures that no sentence stands beside: a heading does not say what there is to see."""
    for k, cell in enumerate(cells):
        mimes = {mime for output in cell.get("outputs", []) for mime in output.get("data", {})}
        beside = [c["source"] for c in cells[max(0, k - 1) : k + 2] if c["cell_type"] == "markdown"]
        sentences = [re.sub(r"^ {0,3}#.*$", "", text, flags=re.M).strip() for text in beside]
        if any(mime.startswith("image/") for mime in mimes) and not any(sentences):
            yield f"cell {k} shows a picture, and no prose stands right before or after it"


def _code_problems(source: str) -> Iterator[str]:
    """What a cell would do that it must not: fetch something, or leave a widget behind."""
    if re.search(r"^\s*[!%]\s*(pip|conda|wget|curl|git)\b|%pip|%conda", source, re.M):
        yield "installs or downloads by a shell line"
    try:
        tree = _parse(source)
    except SyntaxError:
        return  # reported once for the whole notebook
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = {ast.unparse(node).split()[1].split(".")[0].rstrip(",")}
            if names & _NETWORK:
                yield f"imports {names.pop()}, and a lesson fetches nothing"
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        short = called.split(".")[-1]
        given = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
        if called.startswith("torch.hub.") or short in {"urlopen", "urlretrieve", "snapshot_download"}:
            yield f"calls {called}, and a lesson fetches nothing"
        if given.get("download"):
            yield f"calls {called} with download=True, and a lesson fetches nothing"
        strings = _strings([*node.args, *(word.value for word in node.keywords)])
        if short not in _MERELY_SHOWN and any(re.match(r"(https?|ftp)://", text) for text in strings):
            yield f"gives {called} a URL, and a lesson fetches nothing"
    if re.search(r"tqdm\.(auto|notebook|autonotebook)", source):
        yield "uses a tqdm that draws a widget; import it from tqdm itself"


def _output_problems(output: dict) -> Iterator[str]:
    kind = output["output_type"]
    if kind == "error":
        yield f"ended in an error: {output['ename']}"
    if kind == "stream":
        if output["name"] == "stderr":
            for line in re.split(r"[\r\n]+", _ANSI.sub("", output["text"])):
                if line.strip() and not _TQDM.search(line):
                    yield f"wrote to stderr: {line.strip()[:80]}"
        yield from (f"printed a machine's path: {found}" for found in machine_paths(output["text"]))
        return
    data = output.get("data", {})
    for mime in data:
        if "widget-view" in mime:
            yield "saved a widget, which nobody sees on reopening; show a still picture beside it"
        if mime.startswith("image/"):
            yield from _alt_problems(output["metadata"].get(mime, {}).get("alt", ""), "shows a picture")
        if mime.startswith("text/"):
            yield from (f"shows a machine's path: {found}" for found in machine_paths(data[mime]))
        if mime in ("text/html", "text/markdown"):
            yield from _picture_problems(data[mime])


def _picture_problems(text: str) -> Iterator[str]:
    """Pictures without words in Markdown or HTML."""
    for alt in re.findall(r"!\[([^\]]*)\]", text):
        yield from _alt_problems(alt, "shows a picture")
    for tag in re.findall(r"<img\b[^>]*>", text, re.I | re.S):
        alt = re.search(r"""\balt\s*=\s*(["'])(.*?)\1""", tag, re.I | re.S)
        yield from _alt_problems(alt[2] if alt else "", "shows a picture")


def _alt_problems(alt: str, what: str) -> Iterator[str]:
    if len(alt.split()) < 3 and len(alt) < 8:  # Chinese has no spaces
        yield f"{what} with alt text {alt!r}, expected a few words that say what is to be seen"


def _prose_problems(prose: list[tuple[int, str]], folder: Path) -> Iterator[str]:
    plain = [(k, _FENCE.sub("", text)) for k, text in prose]
    titles = [title for _, text in plain for title in headings(text, 1)]
    if len(titles) != 1:
        yield f"it has {len(titles)} headings of the first level, expected 1"
    if not any("exercise" in title.lower() for _, text in plain for title in headings(text)):
        yield "it has no section of exercises"
    anchors = {anchor for _, text in plain for title in headings(text) for anchor in anchors_of(title)}
    anchors |= {anchor for _, text in plain for anchor in re.findall(r"""<a\s+(?:id|name)=["']([^"']+)""", text)}
    for k, text in plain:
        yield from (f"cell {k} {problem}" for problem in _picture_problems(text))
        yield from (f"cell {k} {problem}" for problem in link_problems(text, folder, anchors))
        yield from (f"cell {k} {problem}" for problem in _citation_problems(text))


def _citation_problems(text: str) -> Iterator[str]:
    """Papers with a year that their number on arXiv speaks against: print follows the preprint in two years at most."""
    for year, number in re.findall(r"\b(\d{4})\]\(https://arxiv\.org/abs/(\d{4}\.\d+)\)", text):
        if not 0 <= int(year) - 2000 - int(number[:2]) <= 2:
            yield f"says {year} of arXiv:{number}"


def headings(text: str, level: int | None = None) -> list[str]:
    """The headings of a Markdown text without its fenced code; with `level` only those of that level."""
    found = [(len(marks), title) for marks, title in re.findall(r"^ {0,3}(#{1,6})[ \t]+(.+?)[ \t#]*$", text, re.M)]
    found += [(1 if m == "=" else 2, t) for t, m in re.findall(r"^(\S.*)\n(=|-)\2+[ \t]*$", text, re.M)]
    found += [(int(n), t) for n, t in re.findall(r"<h([1-6])\b[^>]*>(.*?)</h\1>", text, re.I | re.S)]
    return [title for depth, title in found if level in (None, depth)]


def anchors_of(title: str) -> set[str]:
    """How JupyterLab and how GitHub call the place of a heading."""
    bare = re.sub(r"[*_`]", "", title).strip()
    return {bare.replace(" ", "-"), re.sub(r"[^\w\- ]", "", bare.lower()).replace(" ", "-")}


def link_problems(text: str, folder: Path, anchors: Iterable[str] = ()) -> Iterator[str]:
    """Relative links of a Markdown text that lead nowhere."""
    targets = re.findall(r"\]\(\s*<?([^)\s>]+)>?(?:\s+[\"'][^)]*)?\)", text)
    targets += re.findall(r"""\b(?:href|src)\s*=\s*["']([^"']+)["']""", text, re.I)
    targets += re.findall(r"^\s*\[[^\]]+\]:\s*<?(\S+?)>?(?:\s|$)", text, re.M)
    for target in targets:
        if re.match(r"[a-z][a-z0-9+.-]*:", target, re.I):  # https:, mailto:, data:, attachment:
            continue
        path, _, anchor = unquote(target).partition("#")
        if path and not (folder / path).exists():
            yield f"links to {target}, which does not exist"
        elif not path and anchor not in set(anchors):
            yield f"links to {target}, and no heading is called so"


def _texts(outputs: list[dict]) -> str:
    """What a reader reads in the outputs of a cell."""
    parts = [output.get("text", "") for output in outputs]
    parts += [text for o in outputs for mime, text in o.get("data", {}).items() if mime.startswith("text/")]
    return "\n".join(parts)
