"""A clip to hear and to see: WAV bytes, a spectrogram, and a player that shows where it is."""

import io
from pathlib import Path

import anywidget
import matplotlib.pyplot as plt
import numpy as np
import soundfile
import traitlets

from corrlib.corpora.audio import read_clip
from corrlib.corpora.corpus import Corpus
from corrlib.figures import decibels

HERE = Path(__file__).parent
RATE_HZ, TOP_HZ, WIDEST = 16000, 8000, 600  # enough to hear what it is; a third of the size of 44.1 kHz


def waveform_of(corpus: Corpus, clip: int, most_seconds: float = 30.0) -> np.ndarray:
    """Mono float32 (samples,) at RATE_HZ of a clip (row number), no more than `most_seconds` from its start."""
    row = corpus.clips.iloc[clip]
    seconds = min(most_seconds, row.duration_seconds) if row.duration_seconds > 0 else most_seconds
    return read_clip(row.path, row.start_seconds, seconds, RATE_HZ)


def waveform_of_file(path: str | Path, duration_seconds: float, most_seconds: float = 30.0) -> np.ndarray:
    """Mono float32 (samples,) at RATE_HZ of a sound file that lasts so long, no more than `most_seconds` of it."""
    return read_clip(path, 0.0, most_seconds if duration_seconds > most_seconds else None, RATE_HZ)


def wav_bytes(waveform: np.ndarray) -> bytes:
    """A WAV file (16 bit, RATE_HZ) of a waveform (samples,); what exceeds [-1, 1] is clipped."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(waveform, -1, 1), RATE_HZ, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def mp3_bytes(waveform: np.ndarray, rate_hz: int = RATE_HZ) -> bytes:
    """A small MP3 file of a waveform (samples,): about 3 kB a second of a sound at RATE_HZ."""
    buffer = io.BytesIO()
    soundfile.write(
        buffer, np.clip(waveform, -1, 1), rate_hz, format="MP3", bitrate_mode="VARIABLE", compression_level=0.9
    )
    return buffer.getvalue()


def spectrogram_png(waveform: np.ndarray) -> bytes:
    """PNG of a waveform (samples,) at RATE_HZ: 0 to TOP_HZ, low tones at the bottom, 70 dB from dark to bright."""
    return _picture(waveform, "png", {"compress_level": 1})  # a fifth of the time, little larger


def spectrogram_webp(waveform: np.ndarray) -> bytes:
    """The same as WebP: about 5 kB, for pages that show hundreds."""
    return _picture(waveform, "webp", {"quality": 45})


def _picture(waveform: np.ndarray, kind: str, options: dict[str, int]) -> bytes:
    shown = decibels(waveform, RATE_HZ, TOP_HZ)
    shown = shown[:, :: max(1, shown.shape[1] // WIDEST)]
    buffer = io.BytesIO()
    plt.imsave(buffer, shown, origin="lower", cmap="magma", vmin=-70, vmax=0, format=kind, pil_kwargs=options)
    return buffer.getvalue()


class Player(anywidget.AnyWidget):
    """The browser's own audio player below a spectrogram with a playhead; a click on the picture jumps there."""

    wav = traitlets.Bytes(b"").tag(sync=True)
    picture = traitlets.Bytes(b"").tag(sync=True)
    label = traitlets.Unicode("").tag(sync=True)
    plays = traitlets.Int(0).tag(sync=True)  # raised by `play`

    _esm = (
        (HERE / "player.js").read_text(encoding="utf-8")
        + """
    function render({ model, el }) {
      const player = corrlibPlayer(), urls = {};
      el.append(player.box);
      const url = (name, kind) => {
        if (urls[name]) URL.revokeObjectURL(urls[name]);
        const bytes = model.get(name);
        urls[name] = bytes && bytes.byteLength ? URL.createObjectURL(new Blob([bytes], { type: kind })) : null;
        return urls[name];
      };
      const show = () => player.show(url("wav", "audio/wav"), url("picture", "image/png"), model.get("label"));
      model.on("change:wav", show);
      model.on("change:plays", player.play);
      show();
      return () => { player.audio.pause(); Object.values(urls).forEach((u) => u && URL.revokeObjectURL(u)); };
    }
    export default { render };
    """
    )
    _css = (HERE / "player.css").read_text(encoding="utf-8")

    def show(self, corpus: Corpus, clip: int) -> "Player":
        """Load a clip (row number); returns the player."""
        return self.show_waveform(waveform_of(corpus, clip), str(corpus.clips["clip_id"][clip]).split("/", 2)[-1])

    def show_waveform(self, waveform: np.ndarray, label: str) -> "Player":
        """Load a waveform (samples,) at RATE_HZ under a name; returns the player."""
        with self.hold_sync():
            self.label = label
            self.picture, self.wav = spectrogram_png(waveform), wav_bytes(waveform)
        return self

    def play(self) -> None:
        """Start to play in the browser, where it allows that."""
        self.plays += 1
