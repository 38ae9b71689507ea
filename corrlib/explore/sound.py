"""A clip to hear and to see: WAV bytes, a spectrogram, and a player that shows where it is."""

import io

import anywidget
import matplotlib.pyplot as plt
import numpy as np
import soundfile
import traitlets

from corrlib.corpora.audio import read_clip
from corrlib.corpora.corpus import Corpus
from corrlib.figures import decibels

RATE_HZ, TOP_HZ, WIDEST = 16000, 8000, 600  # enough to hear what it is; a third of the size of 44.1 kHz


def waveform_of(corpus: Corpus, clip: int, most_seconds: float = 30.0) -> np.ndarray:
    """Mono float32 (samples,) at RATE_HZ of a clip (row number), no more than `most_seconds` from its start."""
    row = corpus.clips.iloc[clip]
    seconds = min(most_seconds, row.duration_seconds) if row.duration_seconds > 0 else most_seconds
    return read_clip(row.path, row.start_seconds, seconds, RATE_HZ)


def wav_bytes(waveform: np.ndarray) -> bytes:
    """A WAV file (16 bit, RATE_HZ) of a waveform (samples,); what exceeds [-1, 1] is clipped."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(waveform, -1, 1), RATE_HZ, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def spectrogram_png(waveform: np.ndarray) -> bytes:
    """PNG of a waveform (samples,) at RATE_HZ: 0 to TOP_HZ, low tones at the bottom, 70 dB from dark to bright."""
    shown = decibels(waveform, RATE_HZ, TOP_HZ)
    shown = shown[:, :: max(1, shown.shape[1] // WIDEST)]
    buffer = io.BytesIO()
    plt.imsave(
        buffer, shown, origin="lower", cmap="magma", vmin=-70, vmax=0, format="png", pil_kwargs={"compress_level": 1}
    )  # a fifth of the time, little larger
    return buffer.getvalue()


class Player(anywidget.AnyWidget):
    """The browser's own audio player below a spectrogram with a playhead; a click on the picture jumps there."""

    wav = traitlets.Bytes(b"").tag(sync=True)
    picture = traitlets.Bytes(b"").tag(sync=True)
    label = traitlets.Unicode("").tag(sync=True)
    plays = traitlets.Int(0).tag(sync=True)  # raised by `play`

    _esm = """
    function render({ model, el }) {
      const box = document.createElement("div"), view = document.createElement("div");
      const image = document.createElement("img"), head = document.createElement("div");
      const audio = document.createElement("audio");
      box.className = "corrlib-player";
      view.className = "view"; head.className = "head"; audio.controls = true; audio.preload = "auto";
      view.append(image, head); box.append(view, audio); el.append(box);
      const urls = {};
      const load = (name, kind, target) => {
        if (urls[name]) URL.revokeObjectURL(urls[name]);
        urls[name] = URL.createObjectURL(new Blob([model.get(name)], { type: kind }));
        target.src = urls[name];
      };
      const move = () => { head.style.left = `${100 * (audio.currentTime / (audio.duration || 1))}%`; };
      const follow = () => { move(); if (!audio.paused) requestAnimationFrame(follow); };
      const say = () => {
        image.alt = `spectrogram of ${model.get("label")}, 0 to 8 kHz`;
        audio.setAttribute("aria-label", `play ${model.get("label")}`);
      };
      const show = () => { load("wav", "audio/wav", audio); load("picture", "image/png", image); say(); move(); };
      audio.addEventListener("play", () => {
        document.querySelectorAll(".corrlib-player audio").forEach((other) => { if (other !== audio) other.pause(); });
        follow();
      });
      audio.addEventListener("timeupdate", move);
      view.addEventListener("click", (e) => {
        audio.currentTime = (audio.duration || 0) * e.offsetX / view.clientWidth; audio.play();
      });
      model.on("change:wav", show);
      model.on("change:plays", () => audio.play().catch(() => {}));
      show();
      return () => { audio.pause(); Object.values(urls).forEach((u) => URL.revokeObjectURL(u)); };
    }
    export default { render };
    """
    _css = """
    .corrlib-player { width: 330px; margin: 4px 0; }
    .corrlib-player .view { position: relative; cursor: pointer; height: 84px; background: #000; }
    .corrlib-player img { width: 100%; height: 100%; display: block; }
    .corrlib-player .head { position: absolute; top: 0; bottom: 0; width: 2px; background: #fff; pointer-events: none; }
    .corrlib-player audio { width: 100%; height: 34px; display: block; }
    """

    def show(self, corpus: Corpus, clip: int) -> "Player":
        """Load a clip (row number); returns the player."""
        waveform = waveform_of(corpus, clip)
        with self.hold_sync():
            self.label = str(corpus.clips["clip_id"][clip]).split("/", 2)[-1]
            self.picture, self.wav = spectrogram_png(waveform), wav_bytes(waveform)
        return self

    def play(self) -> None:
        """Start to play in the browser, where it allows that."""
        self.plays += 1
