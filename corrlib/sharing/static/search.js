// The page of a search: light or dark as the system, and a player for each sound. Nothing is fetched.
"use strict";

const system = matchMedia("(prefers-color-scheme: dark)");
const applyTheme = () => { document.documentElement.dataset.theme = system.matches ? "dark" : "light"; };
system.addEventListener("change", applyTheme);
applyTheme();
for (const place of document.querySelectorAll(".player")) {
  const player = corrlibPlayer();
  player.show(place.dataset.sound, place.dataset.picture, place.dataset.label);
  place.append(player.box);
}
