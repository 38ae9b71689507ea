"""Tables of a corpus as people write them: encodings, separators, and what is wrong named by its line."""

import codecs
import csv
import io
import re
from collections.abc import Collection, Iterator
from pathlib import Path

import pandas as pd

PUT = "put the corpus there, or give its folder by DATA= (`data` in a notebook)"


def need(path: str | Path, what: str, mend: str) -> Path:
    """The path, or FileNotFoundError that says what is missing and the mend."""
    if not Path(path).exists():
        raise FileNotFoundError(f"{what} {path} does not exist; {mend}")
    return Path(path)


def read_csv(path: str | Path, columns: Collection[str]) -> pd.DataFrame:
    """A table as text with at least `columns`; ValueError names file, line or column.

    Read as people write them: UTF-8 (else UTF-16, as spreadsheets save, or Windows' Latin letters), commas, semicolons
    or tabs between fields, blanks after them, columns in capitals, rows without anything. What was recognised beside
    plain CSV is printed, once.
    """
    need(path, "table", PUT)
    if not Path(path).stat().st_size:
        raise ValueError(f"{path} is empty; restore the published file")
    content = Path(path).read_bytes()
    if content.startswith(ARCHIVE):
        raise ValueError(f"{path} is no CSV but an archive, such as a spreadsheet's .xlsx; save it as CSV")
    text, encoding = _text(content)
    separator, blanks = _dialect(text, columns)
    header, *rows = _rows(path, text, separator, blanks)
    names = [name.strip() for name in header]
    small = {column.casefold(): column for column in columns if column not in names}
    capitals = [name for name in names if name.casefold() in small]
    names = [small.get(name.casefold(), name) for name in names]
    twice = {name for name in names if name and names.count(name) > 1}
    if twice:
        raise ValueError(f"{path} has two columns '{shown(min(twice))}'; remove one or rename it")
    table = pd.DataFrame(rows, columns=pd.Index(range(len(names))), dtype=str)
    kept = [place for place, name in enumerate(names) if name or (table[place] != "").any()]  # not a sheet's empty ones
    table = table[kept].set_axis([names[place] for place in kept], axis=1)
    for column in columns:
        if column not in table:
            raise ValueError(
                f"{path} has no column '{column}', only {shown(', '.join(table.columns))}; rename the column"
            )
    if table.empty:
        raise ValueError(f"{path} lists no clips; restore the published file")
    kind = [encoding] if encoding else []
    kind += [f"{SEPARATORS[separator]} between fields"] if separator != "," else []
    kind += ["blanks after them"] if blanks else []
    kind += [f"columns {', '.join(capitals)} as in small letters"] if capitals else []
    if kind:
        tell(f"{path}: read with {', '.join(kind)}")
    return table


SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
ARCHIVE = b"PK\x03\x04"  # with which a zip begins
MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def _text(content: bytes) -> tuple[str, str]:
    """(what a table says, its encoding in words where it is none that is expected)."""
    wide = content[:8]  # of the header, whose names are in Latin letters
    if content.startswith(MARKS):
        return content.decode("utf-16", errors="replace"), "UTF-16"
    if len(wide) > 3 and not wide[1::2].strip(b"\0"):  # without a mark: every other byte of Latin letters is empty
        return content.decode("utf-16-le", errors="replace"), "UTF-16"
    if len(wide) > 3 and not wide[::2].strip(b"\0"):
        return content.decode("utf-16-be", errors="replace"), "UTF-16"
    try:
        return content.decode("utf-8-sig"), ""
    except UnicodeDecodeError:
        pass
    try:
        return content.decode("cp1252"), ""  # Latin-1, and the quotes and dashes that Windows puts where it has nothing
    except UnicodeDecodeError:
        return content.decode("latin-1"), ""


def _dialect(text: str, columns: Collection[str]) -> tuple[str, bool]:
    """(what separates fields, whether blanks follow it), of the separators the one that shows the wanted columns;
    where none are wanted, the most fields."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    fields = {mark: [field.strip().strip('"') for field in line.split(mark)] for mark in SEPARATORS}
    separator = max(fields, key=lambda mark: sum(c in fields[mark] for c in columns) if columns else len(fields[mark]))
    return separator, re.search(rf"{separator} +[^ ]", line) is not None or f'{separator} "' in text


def _rows(path: str | Path, text: str, separator: str, blanks: bool) -> list[list[str]]:
    """Header and rows of a table, all of the header's length; ValueError names the line that is not."""

    def parse(strict: bool) -> Iterator[tuple[int, list[str]]]:
        lines = io.StringIO(text, newline="")
        reader = csv.reader(lines, delimiter=separator, skipinitialspace=blanks, strict=strict)
        return ((reader.line_num, row) for row in reader if any(field.strip() for field in row))

    try:
        try:
            numbered = list(parse(strict=True))
        except csv.Error as error:
            if "unexpected end" in str(error):
                raise ValueError("a quote is opened and never closed") from None
            numbered = list(parse(strict=False))
        if not numbered:
            raise ValueError("it has no line that holds anything")
        width, rows = len(numbered[0][1]), []
        for number, row in numbered:
            if any(row[width:]):
                raise ValueError(
                    f"line {number} has {len(row)} fields, its header {width}: a text that holds "
                    f"{SEPARATORS[separator]} must stand in double quotes"
                )
            rows.append(row[:width] + [""] * (width - len(row)))
    except (csv.Error, ValueError) as error:
        raise ValueError(f"{path} is not a well-formed CSV ({error}); mend that line") from None
    return rows


_told: set[str] = set()


def tell(line: str) -> None:
    """Print a line about what was recognised or found, once a process."""
    if line not in _told:
        _told.add(line)
        print(line, flush=True)


def shown(name: object) -> str:
    """A name from a stranger's table as it may stand in a message: one line, not endless."""
    text = " ".join(str(name).split())
    return text if len(text) <= 80 else text[:77] + "..."


def refuse(path: str | Path, culprits: pd.Series, sentence: str) -> None:
    """ValueError about the first of `culprits` (a Series), if there is any."""
    if len(culprits):
        more = f" (and {len(culprits) - 1} more)" if len(culprits) > 1 else ""
        raise ValueError(f"{path} {sentence.format(shown(culprits.iloc[0]))}{more}; restore the file or mend that line")


def refuse_empty_captions(path: str | Path, keys: pd.Series, texts: pd.Series) -> None:
    """ValueError about the first clip (by `keys`) that has a caption of nothing but blanks and punctuation."""
    refuse(path, keys[~texts.str.contains(r"[^\W_]", regex=True)], "has an empty caption of '{}'")
