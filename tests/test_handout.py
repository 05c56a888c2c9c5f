"""`minigen handout`: the lessons' words, code, formulas and pictures are all in its pages, which fetch nothing."""

import base64
import html
import io
import re
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

import house
import nbformat
import pytest
from browser import browser_page, need_browser
from command import complaint, run
from fontTools.ttLib import TTFont
from nbformat import v4

import minigen
from minigen import cli, images
from minigen.cli import handout

NOTEBOOKS = house.ROOT / "notebooks"
LESSONS = {path.stem: nbformat.read(path, as_version=4) for path in sorted(NOTEBOOKS.glob("*.ipynb"))}
PAGES = [*(f"{name}.html" for name in LESSONS), "index.html"]
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


class Page(HTMLParser):
    """What is in a page: its elements (tag, attributes) in order, and the texts in elements of some kinds."""

    def __init__(self, file: Path):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.codes: list[str] = []  # of code cells
        self.latex: list[str] = []  # that is noted beside formulas
        self.prose = ""  # outside of code and formulas
        self._open: list[tuple[str, str]] = []
        self.feed(file.read_text(encoding="utf-8"))

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def handle_starttag(self, tag, attributes):
        attributes = {name: value or "" for name, value in attributes}
        self.elements.append((tag, attributes))
        if tag in VOID:
            return
        self._open.append((tag, attributes.get("class", "")))
        if tag == "div" and "hl-" in attributes.get("class", ""):
            self.codes.append("")
        if tag == "annotation":
            self.latex.append("")

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, {name: value or "" for name, value in attributes}))

    def handle_endtag(self, tag):
        assert self._open[-1][0] == tag, f"<{self._open[-1][0]}> is ended by </{tag}>"
        self._open.pop()

    def handle_data(self, data):
        tags = {tag for tag, _ in self._open}
        if any("hl-" in kind for _, kind in self._open):
            self.codes[-1] += data
        elif "annotation" in tags:
            self.latex[-1] += data
        elif not tags & {"pre", "code", "math", "style"}:
            self.prose += data


def _formulas(lesson):
    """The formulas of a lesson's prose, as they are written."""
    found = []
    for cell in lesson.cells:
        if cell.cell_type == "markdown":
            text = re.sub(r"```.*?```|`[^`]+`", "", cell.source, flags=re.DOTALL)
            pairs = re.findall(r"\$\$(.+?)\$\$|\$(.+?)\$", text, flags=re.DOTALL)
            found += [block or inline for block, inline in pairs]
    return found


def _drawn(file):
    """The formulas of a page as MathML, without the LaTeX that is noted beside them."""
    formulas = re.findall("<math.*?</math>", file.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [re.sub("<annotation.*?</annotation>", "", formula, flags=re.DOTALL) for formula in formulas]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The handouts of the lessons as they are committed."""
    out = tmp_path_factory.mktemp("handouts") / "out"
    handout.export(out)
    return out


@pytest.fixture(scope="module")
def pages(folder):
    return {path.name: Page(path) for path in sorted(folder.iterdir())}


# --- the lessons ------------------------------------------------------------------------------------------------


def test_each_lesson_has_a_page_and_the_index_lists_them_in_order(pages):
    assert sorted(pages) == sorted(PAGES)
    targets = [a["href"] for a in pages["index.html"].of("a")]
    assert [target for target in targets if not target.startswith("#")] == PAGES[:-1]
    for name, lesson in LESSONS.items():
        title = lesson.cells[0].source.splitlines()[0].removeprefix("# ")
        assert title in pages["index.html"].prose
        assert title in pages[f"{name}.html"].prose


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fetches_nothing(folder, pages, name):
    page = pages[name]
    assert not {"script", "link", "iframe", "object", "embed", "video", "audio"} & {tag for tag, _ in page.elements}
    assert all(image["src"].startswith("data:image/") for image in page.of("img"))
    text = (folder / name).read_text(encoding="utf-8")
    assert "@import" not in text
    assert all(target.startswith("data:") for target in re.findall(r"url\(['\"]?([^)]{,20})", text))


@pytest.mark.parametrize("name", LESSONS)
def test_every_formula_is_drawn_and_no_dollar_is_left(pages, name):
    page = pages[f"{name}.html"]
    formulas = _formulas(LESSONS[name])
    assert page.latex == formulas
    assert len(page.of("math")) == len(formulas) > 0
    assert "$" not in page.prose and "\\" not in page.prose


DRAWN = {  # what stands in LaTeX, and what stands as often in MathML
    r"\\[dt]?frac": r"<mfrac\b",
    r"\\sqrt": r"<msqrt\b",
    r"\\underbrace": "\N{BOTTOM CURLY BRACKET}",
    r"\\sum": "\N{N-ARY SUMMATION}",
    r"\\prod": "\N{N-ARY PRODUCT}",
    r"\\int": "\N{INTEGRAL}",
    r"\\log": "<mi>log</mi>",
    r"\\mathbb\{E\}": "\N{MATHEMATICAL DOUBLE-STRUCK CAPITAL E}",
    r"\\mathcal\{N\}": "\N{MATHEMATICAL SCRIPT CAPITAL N}",
    r"\\sigma": "\N{GREEK SMALL LETTER SIGMA}",
    r"\\varepsilon": "\N{GREEK SMALL LETTER EPSILON}",
    r"\\nabla": "\N{NABLA}",
    r"\\\|": "\N{DOUBLE VERTICAL LINE}",
    r"\\q?quad": r'<mspace width="[12]em"',
}


@pytest.mark.parametrize("name", LESSONS)
def test_every_sign_of_a_formula_is_drawn(folder, name):
    drawn = _drawn(folder / f"{name}.html")
    for formula, math in zip(_formulas(LESSONS[name]), drawn, strict=True):
        for latex, mathml in DRAWN.items():
            command = f"{latex}(?![a-z])" if latex[-1].isalpha() else latex
            assert len(re.findall(command, formula)) == len(re.findall(mathml, math)), (formula, math)


@pytest.mark.parametrize("name", LESSONS)
def test_the_font_of_the_formulas_has_all_their_letters(folder, name):
    text = (folder / f"{name}.html").read_text(encoding="utf-8")
    (data,) = re.findall(r"@font-face.*url\(data:font/woff;base64,([^)]*)\)", text)
    known = {chr(code) for code in TTFont(io.BytesIO(base64.b64decode(data))).getBestCmap()}
    for math in _drawn(folder / f"{name}.html"):
        needed = set(html.unescape(re.sub("<.*?>", "", math)))
        needed |= {"\N{SQUARE ROOT}"} if "<msqrt" in math else set()
        for letter in re.findall("<mi>([A-Za-z])</mi>", math):
            style = f"MATHEMATICAL ITALIC {'SMALL' if letter.islower() else 'CAPITAL'} {letter.upper()}"
            needed.add("\N{PLANCK CONSTANT}" if letter == "h" else unicodedata.lookup(style))
        assert needed - {"\N{FUNCTION APPLICATION}", "\N{VARIATION SELECTOR-1}"} <= known, math


@pytest.mark.parametrize("name", LESSONS)
def test_code_stands_as_it_was_written_and_in_colours(pages, name):
    page = pages[f"{name}.html"]
    written = [cell.source for cell in LESSONS[name].cells if cell.cell_type == "code" and cell.id != "colab"]
    assert [code.strip("\n") for code in page.codes] == [code.strip("\n") for code in written]
    assert len([span for span in page.of("span") if span.get("class") == "kn"]) >= 3  # its imports


@pytest.mark.parametrize("name", LESSONS)
def test_what_opens_the_lesson_online_is_left_out(folder, name):
    text = (folder / f"{name}.html").read_text(encoding="utf-8")
    assert not re.search(r"colab\.research|google\.colab|mybinder\.org", text)


@pytest.mark.parametrize("name", LESSONS)
def test_every_picture_is_there_with_its_words(pages, name):
    expected = []
    for cell in LESSONS[name].cells:
        if cell.cell_type == "markdown":
            for words, file in re.findall(r"^!\[(.+)\]\((pictures/.+)\)", cell.source, re.MULTILINE):
                expected.append((words, base64.b64encode((NOTEBOOKS / file).read_bytes()).decode()))
        for output in cell.get("outputs", []):
            for kind in {"image/png", "image/jpeg"} & set(output.get("data", {})):
                alt = html.unescape(output.metadata[kind]["alt"])
                expected.append((alt, re.sub(r"\s", "", output.data[kind])))
    images = pages[f"{name}.html"].of("img")
    assert [(image["alt"], image["src"].split(",", 1)[1].replace("\n", "")) for image in images] == expected


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_other_pages_and_to_places_that_are_there(folder, pages, name):
    targets = [a["href"] for a in pages[name].of("a")]
    ids = {attributes["id"] for _, attributes in pages[name].elements if "id" in attributes}
    for target in targets:
        path, _, place = target.partition("#")
        if not re.match("https?:", target):
            assert (folder / path).is_file() if path else place in ids, target
    assert "index.html" in targets or name == "index.html"


@pytest.mark.parametrize("name", LESSONS)
def test_of_a_progress_bar_only_the_end_is_shown(folder, name):
    text = (folder / f"{name}.html").read_text(encoding="utf-8")
    assert "\r" not in text
    assert " 0%|" not in text


# --- notebooks of other kinds -----------------------------------------------------------------------------------


@pytest.fixture
def course(tmp_path, monkeypatch):
    """Makes a clone of the course of these notebooks, name by name, as the package sees it."""

    def make(**notebooks):
        (tmp_path / "notebooks").mkdir()
        for name, cells in notebooks.items():
            nbformat.write(v4.new_notebook(cells=cells), tmp_path / "notebooks" / f"{name[1:]}.ipynb")
        monkeypatch.setattr(minigen, "__file__", str(tmp_path / "minigen" / "__init__.py"))
        monkeypatch.chdir(tmp_path)
        return tmp_path / "notebooks"

    return make


def _display(**data):
    return v4.new_output("display_data", {kind.replace("_", "/"): text for kind, text in data.items()})


def test_a_widget_leaves_nothing_behind_and_the_picture_beside_it_stays(course, tmp_path, capsys):
    widget = v4.new_output("display_data", {handout.WIDGET: {"model_id": "1"}, "text/plain": "VBox(children=())"})
    picture = v4.new_output("display_data", {"image/png": "iVBORw0KGgo="}, metadata={"image/png": {"alt": "a cat"}})
    course(_00_start_here=[v4.new_markdown_cell("# Start"), v4.new_code_cell("demo()", outputs=[widget, picture])])
    run(capsys, "handout", tmp_path / "out")
    page = Page(tmp_path / "out" / "00_start_here.html")
    assert [image["alt"] for image in page.of("img")] == ["a cat"]
    assert "VBox" not in (tmp_path / "out" / "00_start_here.html").read_text()


def test_the_same_lessons_give_the_same_pages(course, tmp_path, capsys):
    course(_00_start_here=[v4.new_markdown_cell("# Start\n\n$x^2$"), v4.new_code_cell("1 + 1")])
    for out in ("one", "two"):
        run(capsys, "handout", tmp_path / out)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_a_picture_a_link_and_a_table_in_raw_html_are_treated_like_those_in_markdown(course, tmp_path, capsys):
    text = '# A\n\n<img alt="a dot" src="pictures/a%20dot.png">\n\n<a href="01_b.ipynb#Two">b</a> [c](01_b.ipynb)'
    folder = course(_00_a=[v4.new_markdown_cell(text)], _01_b=[v4.new_markdown_cell("# B\n\n## Two")])
    (folder / "pictures").mkdir()
    (folder / "pictures" / "a dot.png").write_bytes(b"dot")
    run(capsys, "handout", tmp_path / "out")
    page = Page(tmp_path / "out" / "00_a.html")
    assert page.of("img")[0]["src"] == "data:image/png;base64," + base64.b64encode(b"dot").decode()
    assert {"01_b.html#Two", "01_b.html"} <= {a["href"] for a in page.of("a")}


# --- what is said and written -----------------------------------------------------------------------------------


def test_the_line_says_what_was_written_and_what_to_open(course, tmp_path, capsys):
    course(_00_a=[v4.new_markdown_cell("# A")], _01_b=[v4.new_markdown_cell("# B")])
    out = tmp_path / "out"
    said = run(capsys, "handout", out)
    size = sum(path.stat().st_size for path in out.iterdir())
    assert said == f"wrote 3 pages, {size / 1e6:.1f} MB: open {out / 'index.html'} in a browser\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notebooks", "out"]


def test_an_empty_folder_is_filled_and_others_may_read_what_is_in_a_new_one(course, tmp_path, capsys):
    course(_00_a=[v4.new_markdown_cell("# A")])
    (tmp_path / "empty").mkdir()
    for out in ("empty", "new"):
        run(capsys, "handout", tmp_path / out)
        assert sorted(path.name for path in (tmp_path / out).iterdir()) == ["00_a.html", "index.html"]
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "notebooks").stat().st_mode


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("full", "full holds a.txt and 1 more: name one that is empty"),
        ("full/a.txt", "a.txt is a file: name a folder"),
        ("nowhere/out", "there is no folder {tmp}/nowhere to make out in: make it first"),
        ("full/a.txt/out", "there is no folder {tmp}/full/a.txt to make out in"),
    ],
)
def test_a_folder_that_cannot_be_written_is_refused(course, tmp_path, capsys, out, words):
    course(_00_a=[v4.new_markdown_cell("# A")])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").write_text("mine")
    (tmp_path / "full" / "b.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    assert words.format(tmp=tmp_path) in complaint(capsys, "handout", tmp_path / out)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("method", ["mkdir", "write_bytes"])
def test_what_the_system_refuses_is_said_and_nothing_is_left(course, tmp_path, capsys, monkeypatch, method, there):
    course(_00_a=[v4.new_markdown_cell("# A")])
    out = tmp_path / "out"
    if there:
        out.mkdir()
    before = sorted(tmp_path.rglob("*"))

    def refuse(self, *arguments, **options):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, method, refuse)
    said = complaint(capsys, "handout", out)
    assert f"{out} cannot be written (Permission denied): name another folder" in said
    assert sorted(tmp_path.rglob("*")) == before


def test_without_the_lessons_it_says_where_to_run_it(course, tmp_path, capsys):
    course()
    assert "go to your clone of minigen" in complaint(capsys, "handout", tmp_path / "out")
    assert not (tmp_path / "out").exists()


BROKEN = {
    "{": "cannot be read as a notebook",
    "{}": "cannot be read as a notebook",
    "# A\n\n![a dot](pictures/dot.png)": "A: the picture pictures/dot.png is not in",
    "# A\n\n![a dot](https://example.org/dot.png)": "A: the picture https://example.org/dot.png is not in",
    "# A\n\n$\\sqroot{2}$": r"A: the formula \sqroot{2} cannot be drawn",
    "# A\n\n$\\frac{1}{$": r"A: the formula \frac{1}{ cannot be drawn",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_lesson_that_cannot_be_shown_is_named_and_nothing_is_written(course, tmp_path, capsys, text):
    folder = course(_00_good=[v4.new_markdown_cell("# Good")], _01_a=[v4.new_markdown_cell(text)])
    if text.startswith("{"):
        (folder / "01_a.ipynb").write_text(text)
    said = complaint(capsys, "handout", tmp_path / "out")
    assert BROKEN[text] in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notebooks"]


def test_when_it_is_stopped_nothing_is_left(course, tmp_path, capsys, monkeypatch):
    course(_00_a=[v4.new_markdown_cell("# A")])

    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(handout, "_pages", stop)
    assert cli.main(["handout", str(tmp_path / "out")]) == 130
    assert "stopped, and nothing was written" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notebooks"]


# --- in a browser without a network -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    """A page of the browser whose network is cut off, and a list of what it asked for and complained of."""
    need_browser()
    with browser_page() as page:
        troubles = []
        page.set_default_timeout(120_000)  # on a busy machine a page of 0.8 MB takes longer than the usual 30 s
        page.context.set_offline(True)
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or troubles.append(request.url))
        page.on("console", lambda message: message.type in ("error", "warning") and troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        yield page, troubles


SMALL = """() => [...document.querySelectorAll('math')].filter(math => {
    const {width, height} = math.getBoundingClientRect();
    return width < 4 || height < 4 || math.querySelector('merror');
}).map(math => math.outerHTML)"""
WIDE = """() => [...document.querySelectorAll('main *')].filter(part => {
    for (let above = part; above; above = above.parentElement)
        if (above !== part && getComputedStyle(above).overflowX !== 'visible') return false;
    return part.getBoundingClientRect().right > innerWidth + 1;
}).map(part => part.outerHTML.slice(0, 200))"""
CUT = """() => [...document.querySelectorAll('main *')]
    .filter(part => part.getBoundingClientRect().right > innerWidth + 1).map(part => part.outerHTML.slice(0, 200))"""
UNSEEN = "() => [...document.images].filter(image => !image.naturalWidth).map(image => image.alt)"
PAPER = 703  # pixels of CSS: A4 without its margins


@pytest.mark.parametrize("name", PAGES)
def test_without_a_network_a_page_shows_itself_whole(folder, browser, name):
    page, troubles = browser
    page.emulate_media(media="screen")
    page.set_viewport_size({"width": 1150, "height": 1000})
    page.goto((folder / name).as_uri())
    page.evaluate("document.fonts.ready")
    assert page.evaluate(SMALL) == []
    assert page.evaluate(UNSEEN) == []
    assert page.evaluate("[...document.fonts].every(font => font.status === 'loaded')")
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate(WIDE) == []
    page.emulate_media(media="print")
    page.set_viewport_size({"width": PAPER, "height": 1000})
    assert page.evaluate(CUT) == []
    assert troubles == []


@pytest.mark.parametrize(
    "name", [name for name, lesson in LESSONS.items() if "underbrace" in "".join(_formulas(lesson))]
)
def test_a_brace_is_as_long_as_what_it_embraces(folder, browser, tmp_path, name):
    page, _ = browser
    page.emulate_media(media="screen")
    page.set_viewport_size({"width": 1150, "height": 1000})
    page.goto((folder / f"{name}.html").as_uri())
    page.evaluate("document.fonts.ready")
    braces = page.locator("munder > mo:last-child").all()  # the first is a sum
    assert braces
    for brace in braces:
        brace.screenshot(path=tmp_path / "brace.png")
        dark = images.load_image(tmp_path / "brace.png").mean(dim=0) < 0.6  # [H, W]
        columns = dark.any(dim=0).nonzero()
        assert columns[-1] - columns[0] > 0.9 * dark.shape[1]
