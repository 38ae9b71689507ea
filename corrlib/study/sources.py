"""The one table of what is published where: corpora, weights and text encoders that studies name.

Bytes and checksums are the publishers'. Where they give none, `about` says how much to expect, and what was first
downloaded is recorded and held to from then on (see corrlib.study.fetch).
"""

from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

GB, MB = 10**9, 10**6


@dataclass(frozen=True)
class Source:
    """One published file.

    url: where it is. name: its file name. size: bytes, 0 where not published; about: bytes to expect then. checksum:
    `md5:...` or `sha256:...`, "" where not published. unpacks: of an archive, the folder that comes of it, and about
    how many bytes that takes. audio_only: its other members are left where they are.
    """

    url: str
    name: str = ""
    size: int = 0
    about: int = 0
    checksum: str = ""
    unpacks: tuple[str, int] | None = None
    audio_only: bool = False

    @property
    def file(self) -> str:
        """The file's name."""
        return self.name or PurePosixPath(urlsplit(self.url).path).name

    @property
    def expected(self) -> int:
        """Bytes of the download, as published or as expected."""
        return self.size or self.about


def _clotho(kind: str, split: str, md5: str, about: int, unpacks: tuple[str, int] | None = None) -> Source:
    file = f"clotho_{kind}_{split}.{'7z' if unpacks else 'csv'}"
    url = f"https://zenodo.org/record/4783391/files/{file}?download=1"
    return Source(url, file, about=about, checksum=f"md5:{md5}", unpacks=unpacks)


CLOTHO = (
    _clotho("captions", "development", "d4090b39ce9f2491908eebf4d5b09bae", 2 * MB),
    _clotho("captions", "validation", "5879e023032b22a2c930aaa0528bead4", MB),
    _clotho("captions", "evaluation", "1b16b9e57cf7bdb7f13a13802aeb57e2", MB),
    _clotho("metadata", "development", "170d20935ecfdf161ce1bb154118cda5", MB),
    _clotho("metadata", "validation", "2e010427c56b1ce6008b0f03f41048ce", MB),
    _clotho("metadata", "evaluation", "13946f054d4e1bf48079813aac61bf77", MB),
    # the record names 6.5 GB in all; by the clips' numbers and lengths, a split takes about this
    _clotho("audio", "development", "c8b05bc7acdb13895bb3c6a29608667e", 42 * GB // 10, ("development", 8 * GB)),
    _clotho("audio", "validation", "7dba730be08bada48bd15dc4e668df59", 115 * GB // 100, ("validation", 22 * GB // 10)),
    _clotho("audio", "evaluation", "4569624ccadf96223f19cb59fe4f849f", 115 * GB // 100, ("evaluation", 22 * GB // 10)),
)

AUDIOCAPS_TABLES = "https://raw.githubusercontent.com/cdjkim/audiocaps/master/dataset"
AUDIOCAPS = (
    *(Source(f"{AUDIOCAPS_TABLES}/{split}.csv", about=2 * MB) for split in ("train", "val", "test")),
    Source(
        "https://cloud.cp.jku.at/index.php/s/9MiMcrNjJ3Z9FfH/download/AUDIOCAPS.zip",
        about=28 * GB // 10,
        unpacks=("audio", 28 * GB // 10),
        audio_only=True,
    ),
)

WAVCAPS_TABLES = (
    "https://huggingface.co/datasets/cvssp/WavCaps/resolve/85a0c21e26fa7696a5a74ce54fada99a9b43c6de/json_files"
)
WAVCAPS = tuple(
    Source(f"{WAVCAPS_TABLES}/{path}", about=about * MB)
    for path, about in (
        ("FreeSound/fsd_final.json", 115),
        ("BBC_Sound_Effects/bbc_final.json", 15),
        ("SoundBible/sb_final.json", 1),
        ("AudioSet_SL/as_final.json", 46),
    )
)

CORPORA = {"clotho": CLOTHO, "audiocaps": AUDIOCAPS, "wavcaps": WAVCAPS}
# audio that one command does not bring, and what to do instead
BY_HAND = {
    "wavcaps": (
        "the audio of WavCaps, 941 GB of split archives, is not fetched: `hf download cvssp/WavCaps --repo-type "
        "dataset --revision 85a0c21e26fa7696a5a74ce54fada99a9b43c6de --include 'Zip_files/*' --local-dir {0}` "
        "brings it, or a part of it, and the same command then joins and unpacks what lies in {0}"
    )
}
# what of a corpus cannot be had any more
GONE = {
    "audiocaps": "about a tenth of AudioCaps' clips are no longer on YouTube and in no mirror; `tolerance` lets them go"
}

# lists that a study names as `relevance` or `exclude`, by file name
_DCASE = "https://raw.githubusercontent.com/CPJKU/dcase2025_task6_baseline/main/resources"
LISTS = {
    source.file: source
    for source in (
        Source(f"{_DCASE}/metadata_eval.csv", size=160_363),
        Source(f"{_DCASE}/dcase2025_task6_excluded_freesound_ids.csv", about=30_000),
    )
}
LISTS_BY_HAND = (
    "{} is not there, and not fetched: the list of DCASE 2025 is `metadata_eval.csv`, which is; the TAU graded "
    "relevances of 2023 are the folder `data` of github.com/xieh97/retrieval-relevance-crowdsourcing, to be put there "
    "by hand"
)

_RELEASES = "https://github.com/{}/releases/download/{}/{}"
WEIGHTS = {
    source.file: source
    for source in (
        Source(
            _RELEASES.format("kkoutini/PaSST", "v0.0.2-audioset", "passt-s-f128-p16-s16-ap.468.pt"),
            about=345 * MB,
        ),
        Source(
            _RELEASES.format("kkoutini/PaSST", "v0.0.1-audioset", "passt-s-f128-p16-s10-ap.476-swa.pt"),
            size=344_665_734,
            checksum="sha256:302903fa8c4aee817b11dc982da0b29aaf8d11a3e722420476d0a12c9db70c2c",
        ),
        Source(_RELEASES.format("kkoutini/PaSST", "v.0.0.9", "passt-s-kd-ap.486.pt"), about=345 * MB),
        Source(
            _RELEASES.format("fschmid56/EfficientAT", "v0.0.1", "mn04_as_mAP_432.pt"),
            size=4_066_513,
            checksum="sha256:899a8c6217063f6941793102a2780b3dd788ab11fce468d9cf5f0577c453321c",
        ),
        Source(
            _RELEASES.format("fschmid56/EfficientAT", "v0.0.1", "mn10_as_mAP_471.pt"),
            size=19_708_753,
            checksum="sha256:0bd7dc2443af498c289a2e739f02ebb515d6aa3fd3ab9db539c86123ae368a4e",
        ),
        Source(_RELEASES.format("fschmid56/EfficientAT", "v0.0.1", "mn40_as_ext_mAP_487.pt"), about=275 * MB),
        Source(
            "https://drive.usercontent.google.com/download?export=download&confirm=t&id=1bGJSZWlAIIJ6GL5Id5dW0PTB72DL-QDQ",
            "atstframe_base.ckpt",
            size=1_459_523_813,
            checksum="sha256:9f812544983add849f45ef03c4ce10184729adee082c0bdd347764f4835bb3da",
        ),
    )
}

_ROBERTA = "https://huggingface.co/FacebookAI/roberta-large/resolve/722cf37b1afa9454edce342e7895e588b6ff1d59"
TEXT_ENCODERS = {
    "roberta-large": (
        Source(f"{_ROBERTA}/config.json", size=482),
        Source(f"{_ROBERTA}/tokenizer.json", about=1_360_000),
        Source(f"{_ROBERTA}/vocab.json", about=899_000),
        Source(f"{_ROBERTA}/merges.txt", about=456_000),
        Source(f"{_ROBERTA}/model.safetensors", about=1_420_000_000),
    )
}
