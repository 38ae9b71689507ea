"""What a search in a folder found, as one page to hear and see: it needs nothing beside it and asks for nothing."""

import base64
import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from corrlib.explore.sound import mp3_bytes, spectrogram_webp, waveform_of_file
from corrlib.files import write_atomically
from corrlib.sharing.library import SoundFolder

MOST = 200  # sounds of a page: 100 kB each
EXPLORE, STATIC = Path(__file__).parents[1] / "explore", Path(__file__).parent / "static"
STYLES = (EXPLORE / "player.css", STATIC / "matches.css", STATIC / "search.css")
SCRIPTS = (EXPLORE / "player.js", STATIC / "search.js")


def write_page(path: str | Path, folder: SoundFolder, table: pd.DataFrame, asked: str) -> None:
    """Write what was found (a table of `SoundFolder.search`, of which the first MOST are shown) as a page.

    asked: what was searched for, in words. The page holds sounds (MP3, their first 30 s) and spectrograms itself, and
    its policy forbids it to fetch anything. File names are told, folders of this machine are not. NotWritten where it
    cannot be written.
    """
    rows = table.head(MOST).to_dict("records")
    with ThreadPoolExecutor(2) as pool:
        cards = "\n".join(pool.map(lambda row: _card(folder, row), rows))
    style, script = ("\n".join(file.read_text(encoding="utf-8") for file in files) for files in (STYLES, SCRIPTS))
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; img-src data:; media-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    title = f"Search: {escape(asked)}"
    of = f"{len(rows):,} of {len(folder.sounds):,}"
    write_atomically(
        path,
        f"""<!DOCTYPE html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta http-equiv="Content-Security-Policy" content="{policy}">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>{title}</title>
  <link rel="icon" href="data:,">
  <style>{style}</style>
</head>
<body>
  <main>
    <h1>{title}</h1>
    <p class="quiet">{of} sounds of the folder {escape(folder.folder.resolve().name)}, most similar first, as
      {escape(folder.model.name)} hears them.{_approximately(folder)}</p>
    <noscript><p class="notice">The players of this page need JavaScript.</p></noscript>
    <ol class="found">
{cards}
    </ol>{_skipped(folder)}
  </main>
  <script>{script}</script>
</body>
</html>
""",
    )


def _card(folder: SoundFolder, row: Mapping[Any, Any]) -> str:
    name = escape(row["file"])
    try:
        waveform = waveform_of_file(folder.folder / row["file"], row["seconds"])
        sound, picture = _data("audio/mpeg", mp3_bytes(waveform)), _data("image/webp", spectrogram_webp(waveform))
        player = f'<div class="player" data-sound="{sound}" data-picture="{picture}" data-label="{name}"></div>'
    except (OSError, ValueError):  # it went meanwhile; its embedding is still there
        player = '<p class="notice">This sound is no longer there, or can no longer be read.</p>'
    return (
        f'<li><h2>{name}</h2><p class="quiet">similarity {row["similarity"]:.3f} · {row["seconds"]:.1f} s</p>'
        f"{player}</li>"
    )


def _approximately(folder: SoundFolder) -> str:
    return f" {escape(folder.approximate.said)}." if folder.approximate else ""


def _skipped(folder: SoundFolder) -> str:
    if folder.skipped.empty:
        return ""
    rows = "".join(
        f"<li>{escape(row['file'])}: {escape(row['reason'])}</li>"
        for row in folder.skipped.head(1000).to_dict("records")
    )
    return f"<details><summary>{len(folder.skipped):,} files were skipped</summary><ul>{rows}</ul></details>"


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _hash(text: str) -> str:
    """A source of a page's policy: this very text, and no other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
