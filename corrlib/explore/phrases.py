"""A caption in phrases, and how much each of them counts."""

import re
from collections.abc import Callable, Sequence

import torch

# words that join what could stand alone; a phrase begins with its joining word
JOINTS = (
    r"while|as|and|with|followed by|before|after|then|over|in|on|against|amid|near|from|by|during|behind|beneath|at"
)
# the "by" of "close by" joins nothing
CUT = re.compile(rf"(?<=[,;.])\s+|\s+(?!(?<=\bclose\s)by\b)(?=(?:{JOINTS})\b)", re.IGNORECASE)


def split_phrases(caption: str) -> list[str]:
    """The caption's phrases, whose words joined by spaces are the caption's.

    Cut after commas and before words such as `while`, `and`, `with`, `in`; a caption of one phrase is cut into words.
    """
    phrases: list[str] = []
    for piece in (p for p in CUT.split(caption.strip()) if p):
        if phrases and phrases[-1].lower() in JOINTS.split("|"):
            phrases[-1] += " " + piece  # a lone joint belongs to what follows: "and then"
        else:
            phrases.append(piece)
    return phrases if len(phrases) > 1 else caption.split()


def contributions(
    caption: str, similarity_of: Callable[[list[str]], Sequence[float] | torch.Tensor]
) -> list[tuple[str, float]]:
    """[(phrase, drop)]: by how much the similarity falls when a phrase is left out; negative where it rises.

    similarity_of: list of n captions -> (n,) similarities with the clip in question. A caption of one word cannot be
    taken apart: its drop is nan.
    """
    phrases = split_phrases(caption)
    if len(phrases) < 2:
        return [(phrase, float("nan")) for phrase in phrases]
    without = [" ".join(p for j, p in enumerate(phrases) if j != i) for i in range(len(phrases))]
    similarities = torch.as_tensor(similarity_of([caption, *without]))
    return list(zip(phrases, (similarities[0] - similarities[1:]).tolist(), strict=True))
