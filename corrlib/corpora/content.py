"""What a corpus holds, as one digest: the bytes of its audio, its captions, and the truth where it is known."""

from pathlib import Path

from corrlib.corpora.load import list_corpus, splits_of
from corrlib.files import digest, digest_files, memory_of

TRUTH = ("corpus.json", "scenes.json", "true_correspondences.npz")


def content_digest(name: str, folder: str | Path, audio: bool = True) -> str:
    """Digest of everything in corpus `name` below `folder`, wherever that lies; "" where its tables cannot be read.

    audio: False for a corpus of which the tables alone are looked at. Files are read once; their digests are
    remembered by size, times of change and inode.
    """
    folder = Path(folder)
    try:
        corpora = [list_corpus(name, folder, split, audio) for split in splits_of(name)]
    except (OSError, ValueError):
        return ""
    paths = [path for corpus in corpora for path in corpus.clips["path"]]
    if name == "soundscapes":
        paths += [str(folder / file) for file in TRUTH]
    tables = [
        [
            corpus.clips[["clip_id", "start_seconds"]].astype(str).to_csv(index=False),
            corpus.captions.to_csv(index=False),
        ]
        for corpus in corpora
    ]
    return digest([digest_files(paths, memory_of(folder)), tables])
