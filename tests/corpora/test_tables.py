"""Tables as people write them for their own data: what is understood, and what is refused with its line."""

import shutil
import unicodedata

import pytest

from corrlib.corpora import AuditError, audit, list_corpus, load_corpus
from corrlib.corpora.tables import read_csv
from tests import layouts as make

ROWS = [
    ("sounds/a.wav", "Rain, on a roof"),
    ("sounds/a.wav", "Drops fall"),
    ("sounds/bé c.wav", 'A "dog"'),
]
QUOTED = [(f'"{file}"', '"' + text.replace('"', '""') + '"') for file, text in ROWS]


def written(separator=",", header=("file", "caption"), ends="\n", encoding="utf-8"):
    lines = [separator.join(row) for row in [header, *QUOTED]]
    return "".join(line + ends for line in lines).encode(encoding)


def own(folder, content):
    """Three clips in three splits, of which the training table holds what is given."""
    folder.mkdir(exist_ok=True)
    (folder / "development.csv").write_bytes(content)
    for number, file in enumerate(("a", "bé c", "v", "e")):
        make.sound(folder / "sounds" / f"{file}.wav", 0.3 + 0.1 * number)
    make.table(folder / "validation.csv", ["file", "caption"], [["sounds/v.wav", "a tone"]])
    make.table(folder / "evaluation.csv", ["file", "caption"], [["sounds/e.wav", "another tone"]])
    return folder


@pytest.mark.parametrize(
    "content, said",
    [
        (written(), ""),
        (written(", "), "blanks after them"),
        (written(";"), "semicolons between fields"),
        (written("\t"), "tabs between fields"),
        (written("; ", ends="\r\n"), "semicolons between fields, blanks after them"),
        (written(";", encoding="utf-16"), "UTF-16, semicolons between fields"),
        (written("\t", encoding="utf-16-le"), "UTF-16, tabs between fields"),
        (written(encoding="utf-16-be"), "UTF-16"),
        (written(encoding="utf-8-sig", ends="\r\n"), ""),
        (written(encoding="latin-1", ends="\r"), ""),
        (written().replace(b'"sounds/', b'"sounds\\'), "backslashes in paths"),
        (written().replace(b'"sounds/', b'"./sounds//'), ""),
        (written(header=("file", "caption,,")), ""),
        (b"\n" + written().replace(b"\n", b"\n\n"), ""),
        (written().replace(b"\n", b"\n,\n") + b" , \n", ""),
        (written(header=("File", "Caption")), "columns File, Caption as in small letters"),
        (written(header=("file", "caption")).replace(b'","', b'", "'), "blanks after them"),
        (written().replace(b'"sounds/a', b'"sounds/../sounds/a'), ""),
        (written().replace(b'"sounds/a.wav"', b"sounds/a.wav "), ""),
    ],
)
def test_a_dialect_is_understood_and_said(tmp_path, capsys, content, said):
    corpus = load_corpus("folder", own(tmp_path, content), "development")
    assert corpus.clips["clip_id"].tolist() == ["folder/development/sounds/a.wav", "folder/development/sounds/bé c.wav"]
    assert corpus.captions["text"].tolist() == [text for _, text in ROWS]
    out = capsys.readouterr().out
    assert said in out and out.count("\n") == bool(said)
    load_corpus("folder", tmp_path, "development")
    assert capsys.readouterr().out == ""  # once


def test_an_absolute_path_inside_gives_the_same_id(tmp_path, monkeypatch):
    own(tmp_path / "x", written().replace(b'"sounds/', f'"{tmp_path}/x/sounds/'.encode()))
    ids = load_corpus("folder", tmp_path / "x", "development").clips["clip_id"].tolist()
    assert ids == ["folder/development/sounds/a.wav", "folder/development/sounds/bé c.wav"]
    monkeypatch.chdir(tmp_path)
    assert load_corpus("folder", "x", "development").clips["clip_id"].tolist() == ids
    with pytest.raises(ValueError, match="lies outside its folder"):
        (tmp_path / "x" / "validation.csv").write_text("file,caption\n/etc/passwd,a\n")
        load_corpus("folder", "x", "validation")


@pytest.mark.parametrize(
    "content, sentence",
    [
        ("file,caption\na.wav,Rain\na.wav,Rain, then wind\n", "line 3 has 3 fields, its header 2: .*commas.*quotes"),
        ("file,caption\na.wav,Rain, then wind\nb.wav,x, y\n", "line 2 has 3 fields"),
        ('file,caption\na.wav,"Rain\nfalls"\nb.wav,x, y\n', "line 4 has 3 fields"),
        ('file,caption\na.wav,"Rain\nb.wav,x\n', "a quote is opened and never closed"),
        ("file,caption,caption\na.wav,Rain,Snow\n", "has two columns 'caption'"),
        ("file, caption , caption\na.wav,Rain,Snow\n", "has two columns 'caption'"),
        ('file,caption\nsounds/a.wav,"..."\n', "has an empty caption of 'sounds/a.wav'"),
        ("file,caption\nsounds/a.wav, - !\n", "has an empty caption"),
        ("file,caption\nsounds/a.wav\n", "has an empty caption"),
        ("file;caption\nsounds/a.wav;x;y\n", "semicolons must stand in double quotes"),
        ("\n\n", "holds anything"),
        ("PK\x03\x04xl/workbook.xml", "is no CSV but an archive, such as a spreadsheet's .xlsx"),
        ("file,caption\n,Rain\n", "has a row that names no file"),
        ("file,caption\nsounds/a.wav,_\n", "has an empty caption"),
        ("file,caption\nsounds/v.wav,Rain\n", "'sounds/v.wav' is in two splits of .*, development and validation"),
        ("file,caption\nsounds\\e.wav,Rain\n", "'sounds/e.wav' is in two splits of .*, development and evaluation"),
        ("file,caption\nsounds/gone.wav,Rain\n", "1 missing; first: .*/sounds/gone.wav"),
    ],
)
def test_what_cannot_be_meant_is_named(tmp_path, content, sentence):
    own(tmp_path, content.encode())
    with pytest.raises(ValueError, match=sentence) as caught:
        load_corpus("folder", tmp_path, "development")
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_windows_quotes_other_scripts_and_composed_letters(tmp_path):
    own(tmp_path, "file,caption\nsounds/a.wav,\u201cRain\u201d \u2013 soft\n".encode("cp1252"))
    assert load_corpus("folder", tmp_path, "development").captions["text"].tolist() == ["\u201cRain\u201d \u2013 soft"]
    name = unicodedata.normalize("NFD", "sounds/b\u00e9 c.wav")
    (tmp_path / "development.csv").write_bytes(f"file,caption\n{name},\u96e8\n".encode("utf-16-be"))
    corpus = load_corpus("folder", tmp_path, "development")
    assert corpus.clips["clip_id"].tolist() == ["folder/development/sounds/b\u00e9 c.wav"]
    assert corpus.captions["text"].tolist() == ["\u96e8"]


def test_seconds_with_a_decimal_comma(tmp_path):
    own(tmp_path, b"file;caption;start_seconds;duration_seconds\nsounds/a.wav;Rain;0,1;0,15\n")
    clip = load_corpus("folder", tmp_path, "development").clips.iloc[0]
    assert (clip["start_seconds"], clip["duration_seconds"]) == (0.1, 0.15)


def test_splits_of_one_table_are_known_ones(tmp_path):
    make.table(tmp_path / "captions.csv", ["file", "caption", "split"], [["a.wav", "x", "train"]])
    with pytest.raises(ValueError, match="has a split 'train', which is none of development, validation, evaluation"):
        list_corpus("folder", tmp_path, "development")
    make.table(tmp_path / "captions.csv", ["file", "caption", "split"], [["a.wav", "x", " Development"]])
    assert len(list_corpus("folder", tmp_path, "development").clips) == 1


def test_a_language_is_no_sixth_caption(tmp_path):
    make.clotho(tmp_path)
    path = tmp_path / "clotho_captions_development.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header + ",caption_lang", *(row + ",en" for row in rows)]))
    corpus = load_corpus("clotho", tmp_path, "development")
    assert len(corpus.captions) == 15 and "en" not in set(corpus.captions["text"])


def test_a_missing_field_is_empty(tmp_path):
    (tmp_path / "t.csv").write_text("a,b,c\n1,2\n3,4,5\n")
    assert read_csv(tmp_path / "t.csv", ["a"]).to_numpy().tolist() == [["1", "2", ""], ["3", "4", "5"]]


# The same sound in two splits


def test_a_copy_under_another_name_is_named_and_left_out_within_the_tolerance(tmp_path):
    own(tmp_path, written())
    shutil.copy(tmp_path / "sounds" / "a.wav", tmp_path / "sounds" / "copy.wav")
    make.table(tmp_path / "evaluation.csv", ["file", "caption"], [["sounds/copy.wav", "a tone"]])
    with pytest.raises(AuditError, match="1 of 2 clips.*1 also in another split; first: .*a.wav is a copy.*copy.wav"):
        load_corpus("folder", tmp_path, "development", tolerance=0.4)
    corpus, table = audit(list_corpus("folder", tmp_path, "development"), tolerance=0.5)
    assert corpus.clips["clip_id"].tolist() == ["folder/development/sounds/bé c.wav"]
    assert len(corpus.captions) == 1 and table["leaks"].tolist() == [1] and table["listed"].tolist() == [1]
    assert len(load_corpus("folder", tmp_path, "evaluation").clips) == 1  # there it stays


def test_parts_of_one_recording_may_be_in_two_splits_unless_they_overlap(tmp_path):
    make.sound(tmp_path / "long.wav", 4)
    header = ["file", "caption", "start_seconds", "duration_seconds", "split"]
    rows = [["long.wav", "first", "0", "2", "development"], ["long.wav", "last", "2", "", "evaluation"]]
    make.table(tmp_path / "captions.csv", header, rows)
    assert len(load_corpus("folder", tmp_path, "development").clips) == 1
    rows[1][2] = "1.5"
    make.table(tmp_path / "captions.csv", header, rows)
    with pytest.raises(AuditError, match="also in another split"):
        load_corpus("folder", tmp_path, "development")


def test_equal_sizes_are_no_copies(tmp_path):
    own(tmp_path, written())
    make.sound(tmp_path / "sounds" / "other.wav", 0.3, hz=500)
    make.table(tmp_path / "evaluation.csv", ["file", "caption"], [["sounds/other.wav", "a tone"]])
    assert len(load_corpus("folder", tmp_path, "development").clips) == 2
