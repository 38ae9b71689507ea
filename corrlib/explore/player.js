// The browser's own player below a spectrogram with a playhead; a click on the picture jumps there. One sound at a time.
// Used by the widgets of 13_explore and by the Matches page.
function corrlibPlayer() {
  const make = (tag, name) => Object.assign(document.createElement(tag), { className: name || "" });
  const box = make("div", "corrlib-player"), view = make("div", "view"), image = make("img"), head = make("div", "head");
  const audio = make("audio");
  audio.controls = true;
  view.append(image, head);
  box.append(view, audio);
  const move = () => { head.style.left = `${100 * (audio.currentTime / (audio.duration || 1))}%`; };
  const follow = () => { move(); if (!audio.paused) requestAnimationFrame(follow); };
  const play = () => audio.play().catch(() => {}); // browsers refuse sound before the first click
  audio.addEventListener("play", () => {
    document.querySelectorAll(".corrlib-player audio").forEach((other) => { if (other !== audio) other.pause(); });
    follow();
  });
  audio.addEventListener("timeupdate", move);
  view.addEventListener("click", (event) => {
    if (!audio.getAttribute("src")) return;
    audio.currentTime = (audio.duration || 0) * (event.clientX - view.getBoundingClientRect().left) / view.clientWidth;
    play();
  });
  return {
    box, audio, play,
    // sound, picture: addresses, either may be missing; label: the clip's name
    show(sound, picture, label) {
      audio.pause();
      for (const [element, address] of [[audio, sound], [image, picture]]) {
        if (address) element.src = address; else element.removeAttribute("src");
        element.hidden = !address;
      }
      view.hidden = !picture;
      image.alt = `spectrogram of ${label}, 0 to 8 kHz`;
      audio.setAttribute("aria-label", `play ${label}`);
      move();
    },
  };
}
