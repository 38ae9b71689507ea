"""Miniature corpora in the published layouts, for tests."""

import csv
import json

import numpy as np
import soundfile

RATE = 16000


def sound(path, seconds=0.5, hz=440.0, rate=RATE, channels=1):
    """A short tone in the format of the path's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    t = np.arange(int(seconds * rate)) / rate
    wave = 0.4 * np.sin(2 * np.pi * hz * t)
    if path.suffix.lower() in CODECS:
        return coded(path, CODECS[path.suffix.lower()], seconds, hz, rate, channels)
    kinds = {".wav": "WAV", ".flac": "FLAC", ".mp3": "MP3", ".ogg": "OGG", ".aiff": "AIFF"}
    soundfile.write(path, np.stack([wave] * channels, 1), rate, format=kinds[path.suffix.lower()])
    return path


CODECS = {".m4a": "aac", ".mp4": "aac", ".aac": "aac", ".webm": "libopus"}


def coded(path, codec, seconds=0.5, hz=440.0, rate=44100, channels=1):
    """A short tone in the container of the path's suffix, encoded by PyAV."""
    import av

    if codec == "libopus":
        rate = 48000
    t, layout = np.arange(int(seconds * rate)) / rate, "stereo" if channels == 2 else "mono"
    wave = np.stack([0.4 * np.sin(2 * np.pi * hz * t)] * channels).astype(np.float32)
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate)
        stream.layout = layout
        frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout=layout)
        frame.sample_rate = rate
        parts = av.AudioResampler(stream.format, layout, rate).resample(frame)
        for packet in (p for part in (*parts, None) for p in stream.encode(part)):
            out.mux(packet)
    return path


def noise_in_the_middle(path):
    """Some bytes in the middle of a file become others."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 600] = np.random.default_rng(0).bytes(600)
    path.write_bytes(content)


def table(path, header, rows, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding=encoding) as file:
        csv.writer(file).writerows([header, *rows])
    return path


ODD_NAMES = {  # name in the table: name on the disk
    "plain.wav": "plain.wav",
    "two words.wav": "two words.wav",
    "Zürich café.wav": "Zürich café.wav",
    "dog&#39;s bark.wav": "dog's bark.wav",
    "100% rain.wav": "100% rain.wav",
    'say "hi".wav': 'say "hi".wav',
    "ends with dot..wav": "ends with dot.wav",
    "LOUD.wav": "LOUD.WAV",
    "20%25.wav": "20%25.wav",
    "decomposed é.wav": "decomposed é.wav",
}


def clotho(
    folder,
    names=("a.wav", "b.wav", "c.wav"),
    splits=("development", "validation", "evaluation"),
    disk=None,
    encoding="utf-8",
    ids=None,
):
    """ClothoV2: five captions a clip, a metadata table a split."""
    disk = disk or {}
    for split in splits:
        header = ["file_name", *(f"caption_{i}" for i in range(1, 6))]
        table(
            folder / f"clotho_captions_{split}.csv",
            header,
            [[n, *(f"Caption {i} of {split}, a sound, maybe" for i in range(1, 6))] for n in names],
        )
        table(
            folder / f"clotho_metadata_{split}.csv",
            ["file_name", "keywords", "sound_id", "sound_link", "start_end_samples", "manufacturer", "license"],
            [[n, "möwe;sea", (ids or {}).get((split, n), "Not found"), "", "", "Jörg", "CC0"] for n in names],
            encoding,
        )
        for number, name in enumerate(names):
            sound(folder / split / disk.get(name, name), 0.4 + 0.1 * number)
    return folder


def audiocaps(folder, audio="audio/{split}", name="Y{id}.flac", missing=()):
    """AudioCaps: one caption a clip in train, five in val and test."""
    for split, captions in (("train", 1), ("val", 5), ("test", 5)):
        rows = [
            [f"{i}{j}", f"-id_{split}{i}", str(30 * i), f"A train, caption {j}"]
            for i in range(4)
            for j in range(captions)
        ]
        table(folder / f"{split}.csv", ["audiocap_id", "youtube_id", "start_time", "caption"], rows)
        for i in range(4):
            if (split, i) not in missing:
                facts = {"start": 30 * i, "stop": 30 * i + 10, "number": f"{i}0", "start_ms": 30_000 * i}
                sound(folder / audio.format(split=split) / name.format(id=f"-id_{split}{i}", **facts))
    return folder


SOURCES = {"FreeSound": "fsd", "BBC_Sound_Effects": "bbc", "SoundBible": "sb", "AudioSet_SL": "as"}


def wavcaps(folder, ids=None):
    """WavCaps: four JSON files, FLAC folders."""
    ids = ids or {
        "FreeSound": ["101", "102"],
        "BBC_Sound_Effects": ["NHU0501"],
        "SoundBible": ["7"],
        "AudioSet_SL": ["Y-id_test1.wav", "Yother.wav"],
    }
    for source, short in SOURCES.items():
        path = folder / "json_files" / source / f"{short}_final.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        data = [
            {"id": i, "caption": f"Sound {i} of {source}.", "duration": 0.5, "audio": "wav_path"} for i in ids[source]
        ]
        path.write_text(json.dumps({"num_captions_per_audio": 1, "data": data}))
        for i in ids[source]:
            sound(folder / f"{source}_flac" / f"{i.removesuffix('.wav')}.flac")
    return folder


def own(folder):
    """A CSV of anybody's own files."""
    for hz, split in ((440, "development"), (550, "validation"), (660, "evaluation")):
        rows = [
            [f"sounds/{split} {i}{suffix}", f"caption {j} of {i}"]
            for i, suffix in enumerate((".wav", ".mp3", ".flac"))
            for j in range(1 + i)
        ]
        table(folder / f"{split}.csv", ["file", "caption"], rows)
        for number, file in enumerate(sorted({r[0] for r in rows})):
            sound(folder / file, hz=hz + 10 * number)
    return folder
