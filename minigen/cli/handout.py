"""`minigen handout`: every lesson, as it was run, as a page of HTML that opens without a network, and a list of them.

Pictures, styles and the letters of the formulas are in the page. The formulas are MathML, which browsers draw
themselves, so there is no script.
"""

import base64
import html
import io
import mimetypes
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote

import nbformat
from fontTools import subset
from fontTools.ttLib import TTFont
from math_core import LatexError, LatexToMathML
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from nbformat import NotebookNode

import minigen
from minigen.cli.copies import check_free, read_lessons, write_folder

TEMPLATE = Path(__file__).with_suffix(".html.j2")
WIDGET = "application/vnd.jupyter.widget-view+json"
INTRODUCTION = "# minigen\n\nA notebook course in image generation: its lessons to read and to print."
CONVERTER = LatexToMathML(annotation=True, fancy_error=False)
ROOT = "\N{SQUARE ROOT}"  # drawn by browsers as part of an element, and so in no text
ITALICS = [chr(code) for code in (0x210E, *range(0x1D434, 0x1D468), *range(0x1D6E2, 0x1D71C))]  # Planck's h is one


def export(out: str | Path) -> str:
    """Write a page for every lesson and an index.html into the folder `out`; return a line that says so.

    Raises ValueError or OSError, with nothing written, for a folder that holds something or cannot be made, and for a
    lesson that cannot be read or drawn.
    """
    out = Path(out)
    check_free(out)
    pages = {name: page.encode() for name, page in _pages(*read_lessons()).items()}
    write_folder(out, pages)
    size = sum(map(len, pages.values()))
    return f"wrote {len(pages)} pages, {size / 1e6:.1f} MB: open {out / 'index.html'} in a browser"


def _pages(folder: Path, lessons: dict[str, NotebookNode]) -> dict[str, str]:
    """The file names and the texts of all pages."""
    lessons = {name: _as_run(lesson) for name, lesson in lessons.items()}
    titles = {name: _first(r"^# +(.+)$", lesson) or name for name, lesson in lessons.items()}
    names = list(lessons)
    pages = {}
    for k, name in enumerate(names):
        ways = [(f"← {_short(titles[before])}", f"{before}.html") for before in names[max(k - 1, 0) : k]]
        ways += [("All lessons", "index.html")]
        ways += [(f"{_short(titles[after])} →", f"{after}.html") for after in names[k + 1 : k + 2]]
        pages[f"{name}.html"] = _page(lessons[name], titles[name], folder, ways)
    pages["index.html"] = _page(_index(lessons, titles), "minigen", folder)
    face = _font_face(pages.values())
    return {
        name: page.replace("</head>", f"{face}</head>", 1) if "<math" in page else page for name, page in pages.items()
    }


def _short(title: str) -> str:
    return title.split(":")[0]


def _as_run(lesson: NotebookNode) -> NotebookNode:
    """A lesson without the cell for Colab, which is never run, and without widgets.

    Those are empty boxes where no kernel is, and a still picture stands beside.
    """
    lesson.cells = [cell for cell in lesson.cells if "skip-execution" not in cell.metadata.get("tags", [])]
    for cell in lesson.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
    return lesson


def _first(pattern: str, lesson: NotebookNode) -> str | None:
    """What the pattern, or the group in it, finds first in the text of a lesson."""
    text = "\n\n".join(cell.source for cell in lesson.cells if cell.cell_type == "markdown")
    found = re.search(pattern, text, re.MULTILINE)
    return found and found[found.re.groups]


def _index(lessons: dict[str, NotebookNode], titles: dict[str, str]) -> NotebookNode:
    """A notebook that lists the lessons, each with its first paragraph and its first picture."""
    parts = [INTRODUCTION]
    for name, lesson in lessons.items():
        parts += [f"## [{titles[name]}]({name}.ipynb)"]
        parts += filter(None, (_first(pattern, lesson) for pattern in (r"^# .+\n\n((?:.+\n)+)", r"^!\[.*\]\(.+\)$")))
    cell = nbformat.v4.new_markdown_cell("\n\n".join(parts), id="lessons")
    return nbformat.v4.new_notebook(cells=[cell])


def _page(notebook: NotebookNode, title: str, folder: Path, ways: Sequence[tuple[str, str]] = ()) -> str:
    """The page of a notebook, whose pictures lie in `folder`; `ways` are the words and targets of links to others."""
    exporter = _Exporter(
        template_file=str(TEMPLATE),
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        preprocessors=[CoalesceStreamsPreprocessor],
    )
    try:
        page, _ = exporter.from_notebook_node(notebook, {"title": title, "ways": ways, "version": minigen.__version__})
        page = re.sub(r'(<img\b[^>]*?\bsrc=")(?!data:)([^"]*)', partial(_embedded, folder=folder), page)
    except ValueError as error:
        raise ValueError(f"{title}: {error}") from error
    page = re.sub(r'(<a\b[^>]*?\bhref="\d\d_\w+)\.ipynb(?=["#])', r"\1.html", page)
    # A browser would begin a line with the comma after a formula
    page = re.sub(r"[^\s<>]{0,20}<math\b.*?</math>[^\s<]*", r'<span class="whole">\g<0></span>', page, flags=re.DOTALL)
    page = re.sub(r"<table\b.*?</table>", r'<div class="table">\g<0></div>', page, flags=re.DOTALL)
    return page


def _embedded(found: re.Match, folder: Path) -> str:
    """The beginning of a picture's tag, with the picture itself in the place of its file's name."""
    path = folder / unquote(html.unescape(found[2]))
    if not path.is_file():
        raise ValueError(f"the picture {found[2]} is not in {folder}: save it there, for a page fetches nothing")
    kind = mimetypes.guess_type(path.name)[0]
    return f"{found[1]}data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


class _Exporter(HTMLExporter):
    """nbconvert's exporter, with formulas that need no script."""

    def markdown2html(self, source: str) -> str:
        return MarkdownWithMath(renderer=_Renderer(escape=False)).render(source)


class _Renderer(IPythonRenderer):
    """nbconvert's way from Markdown to HTML, with MathML in the place of formulas."""

    def inline_math(self, body: str) -> str:
        return _mathml(body, block=False)

    def block_math(self, body: str) -> str:
        return f'<span class="formula">{_mathml(body, block=True)}</span>'

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(f"\\begin{{{name}}}{body}\\end{{{name}}}")


# --- formulas ---------------------------------------------------------------------------------------------------


def _mathml(latex: str, *, block: bool) -> str:
    try:
        drawn = CONVERTER.convert_with_local_state(latex, displaystyle=block)
    except LatexError as error:
        raise ValueError(f"the formula {latex.strip()} cannot be drawn: {error}") from error
    # Chromium forgets the size of a delimiter that is all that an exponent stands on
    return re.sub(r"<msup>(<mo [^>]*minsize=[^>]*>[^<]*</mo>)", r"<msup><mrow>\1<mi></mi></mrow>", drawn)


def _font_face(pages: Iterable[str]) -> str:
    """The style that brings a font for the formulas of the pages, with the letters that they need and no others."""
    formulas = re.sub(
        r"<annotation\b.*?</annotation>|<[^>]*>",
        "",
        "".join(formula for page in pages for formula in re.findall(r"<math\b.*?</math>", page, flags=re.DOTALL)),
        flags=re.DOTALL,
    )
    letters = {ROOT, *html.unescape(formulas)}
    letters |= {
        italic for italic in ITALICS if unicodedata.normalize("NFKC", italic) in letters
    }  # a lone letter is one
    file = metadata.distribution("ziamath").locate_file("ziamath/fonts/STIXTwoMath-Regular.ttf")
    font = TTFont(file, recalcTimestamp=False)  # the same letters are the same bytes
    _narrow_roots(font)
    subsetter = subset.Subsetter(subset.Options(hinting=False, layout_features=[], notdef_outline=True))
    subsetter.populate(text="".join(letters))
    subsetter.subset(font)
    font.flavor = "woff"
    packed = io.BytesIO()
    font.save(packed)
    source = f"data:font/woff;base64,{base64.b64encode(packed.getvalue()).decode()}"
    return f'<style>@font-face {{ font-family: "Handout Math"; src: url({source}); }}</style>\n'


def _narrow_roots(font: TTFont) -> None:
    """Make the taller signs of a root as narrow as the lowest: Chromium leaves room for the widest beside each."""
    variants = font["MATH"].table.MathVariants
    lowest = font.getBestCmap()[ord(ROOT)]
    construction = variants.VertGlyphConstruction[variants.VertGlyphCoverage.glyphs.index(lowest)]
    taller = [record.VariantGlyph for record in construction.MathGlyphVariantRecord]
    taller += [part.glyph for part in construction.GlyphAssembly.PartRecords]
    width = font["hmtx"][lowest][0]
    for name in taller:
        glyph = font["glyf"][name]
        glyph.coordinates.scale((width / font["hmtx"][name][0], 1))
        glyph.coordinates.toInt()
        glyph.recalcBounds(font["glyf"])
        font["hmtx"][name] = (width, glyph.xMin)
