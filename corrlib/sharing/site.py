"""A finished study as a folder of web pages: what `make site` writes.

Sphinx with myst-nb makes the pages of Markdown and executed notebooks; the Matches page is a template of our own. All
links are relative and nothing is fetched, so the folder opens from a disk as it does from a server.
"""

import html
import json
import re
import shutil
import tempfile
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

from corrlib.explore import sound
from corrlib.sharing import site_matches, site_notebooks, site_pages
from corrlib.sharing.site_links import Links
from corrlib.study.study_file import load_study

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
PLAYER = Path(sound.__file__).parent  # its script and style are those of 13_explore
AUDIO = ("mp3", "none")
MOST_BYTES = 40_000_000  # of the whole site
MARK = ".corrlib-site"  # in a folder that this module wrote, and may write again
NEEDED = ("sphinx", "myst_nb", "sphinx_book_theme")
# Sphinx tells these of what myst-nb makes of a notebook's outputs; nothing is lost
SILENT = ["mystnb.unknown_mime_type", "misc.highlighting_failure"]


def build_site(
    study: str, to: str | Path, seed: int | None = None, audio: str = "mp3", most_bytes: int = MOST_BYTES
) -> Path:
    """Write the site of a finished study into the folder `to`, which is replaced as a whole; returns its start page.

    seed: whose notebooks are shown, the study file's first if not given. audio: `mp3`, or `none` where clips may not
    be published.

    ValueError where `to` holds something else, where `audio` is neither, and where the pages would exceed `most_bytes`;
    FileNotFoundError where the study is not finished; ImportError where Sphinx is missing.
    """
    to = Path(to)
    _check(to, audio)
    title = load_study(study).title
    seed = load_study(study).seeds[0] if seed is None else seed
    with tempfile.TemporaryDirectory(prefix="corrlib-site-") as work:
        source, pages = Path(work) / "source", Path(work) / "pages"
        source.mkdir()
        shown = site_notebooks.of_seed(study, seed)
        pages_of = {own.notebook: own.page for own in reversed(shown)}  # of several runs of one, the first
        links = Links(study, pages_of, source, pages, ROOT)
        site_notebooks.write(study, shown, links, pages / "notebooks", audio)
        session = site_matches.open_session(study, seed)
        matches = site_matches.write(session, pages / "matches", audio, most_bytes // 2)
        if audio != "none" and session.parameters.corpus != "soundscapes":
            print(
                f"the pages hold sound of {session.parameters.corpus}: see that it may be published, or build them "
                "without (AUDIO=none)"
            )
        (Path(work) / "matches.json").write_text(json.dumps(matches), encoding="utf-8")
        site_pages.write(study, title, seed, shown, matches, links, ROOT)
        warnings = _sphinx(source, pages, Path(work), title)
        (pages / MARK).write_text(f"{study}\n")
        (pages / ".nojekyll").write_text("")  # GitHub Pages leaves out folders such as _static otherwise
        _refuse_too_large(pages, most_bytes)
        to.parent.mkdir(parents=True, exist_ok=True)
        if to.exists():
            shutil.rmtree(to)
        shutil.move(pages, to)
    for line in warnings:
        print(f"sphinx: {line}")
    return to / "index.html"


def _check(to: Path, audio: str) -> None:
    if audio not in AUDIO:
        raise ValueError(f"audio is '{audio}'; choose {' or '.join(AUDIO)}")
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ImportError(f"{', '.join(missing)} is not installed; run `pip install 'corrlib[site]'`, or `make site`")
    if to.is_file() or (to.is_dir() and any(to.iterdir()) and not (to / MARK).is_file()):
        raise ValueError(f"{to} holds something that is no site; name another folder, or remove it")


def _refuse_too_large(pages: Path, most_bytes: int) -> None:
    size = sum(path.stat().st_size for path in pages.rglob("*") if path.is_file())
    if size > most_bytes:
        raise ValueError(
            f"the site would have {size / 1e6:.0f} MB, more than {most_bytes / 1e6:.0f} MB; build it without audio "
            "(AUDIO=none), or of a study with smaller notebooks"
        )


def _sphinx(source: Path, pages: Path, work: Path, title: str) -> list[str]:
    """Let Sphinx write the pages of `source`; its warnings, one a line."""
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace, patch_docutils

    warnings = StringIO()
    with patch_docutils(), docutils_namespace():
        app = Sphinx(
            source,
            None,
            pages,
            work / "doctrees",
            "html",
            confoverrides=_settings(title, work / "matches.json"),
            status=None,
            warning=warnings,
            freshenv=True,
            parallel=1,
        )
        app.build(force_all=True)
    (pages / ".buildinfo").unlink(missing_ok=True)
    shutil.rmtree(pages / "_sources", ignore_errors=True)  # the notebooks once more, for a button that is not shown
    text = re.sub(r"\x1b\[[0-9;]*m", "", warnings.getvalue())
    return [line.replace(f"{source}/", "") for line in text.splitlines() if line.strip()]


def _settings(title: str, matches: Path) -> dict:
    """Sphinx's configuration: no notebook is run, nothing is fetched, and `$`, `{{x}}` or `-->` in outputs are text."""
    return {
        "project": "corrlib",
        "html_title": html.escape(f"corrlib: {title}"),  # the theme takes it for markup
        "extensions": ["myst_nb", "corrlib.sharing.site_sphinx"],
        "exclude_patterns": ["**.ipynb_checkpoints"],
        "suppress_warnings": SILENT,
        "nb_execution_mode": "off",
        "nb_ipywidgets_js": {},
        "nb_merge_streams": True,
        "myst_enable_extensions": ["dollarmath"],
        "myst_heading_anchors": 4,
        "smartquotes": False,
        "html_math_renderer": "mathml",
        "html_theme": "sphinx_book_theme",
        "html_theme_options": {
            "use_download_button": False,
            "use_fullscreen_button": False,
            "home_page_in_toc": True,
            "show_navbar_depth": 1,
            "show_toc_level": 2,
            "footer_content_items": [],
        },
        "html_context": {"default_mode": "auto"},
        "html_static_path": [str(HERE / "static"), *(str(PLAYER / f"player.{kind}") for kind in ("js", "css"))],
        "html_css_files": ["site.css"],
        "templates_path": [str(HERE / "templates")],
        "html_show_search_summary": False,  # it would fetch the pages that were found, which a disk does not allow
        "html_copy_source": False,
        "html_show_sourcelink": False,
        "html_show_copyright": False,
        "html_show_sphinx": False,
        "html_last_updated_fmt": None,
        "corrlib_matches": str(matches),
    }
