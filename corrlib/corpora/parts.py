"""A part of a training split, and captions that were given to the wrong clips: data by the dial, for ablations."""

import numpy as np

from corrlib.corpora.corpus import Corpus
from corrlib.corpora.seeds import derive_seed


def take(corpus, share, seed):
    """(Corpus of `share` of the clips, row numbers of the clips kept, of their captions).

    The clips keep their order. Of one seed, a smaller share is part of a greater one. ValueError if no clip is left.
    """
    count = round(share * len(corpus.clips))
    if not count:
        raise ValueError(f"development_share {share:g} of {len(corpus.clips)} clips is no clip; choose a greater share")
    rows = np.sort(np.random.default_rng(derive_seed(seed, "development share")).permutation(len(corpus.clips))[:count])
    clips = corpus.clips.iloc[rows].reset_index(drop=True)
    kept = corpus.captions["clip_id"].isin(clips["clip_id"]).to_numpy()
    metadata = corpus.metadata[corpus.metadata["clip_id"].isin(clips["clip_id"])].reset_index(drop=True)
    captions = corpus.captions[kept].reset_index(drop=True)
    return Corpus(clips, captions, metadata, corpus.excluded), rows, np.flatnonzero(kept)


def swap_captions(corpus, share, seed):
    """(Corpus in which `share` of the captions have the text of another clip's caption, row number of each one's text).

    Clips are paired off at random and two of a pair exchange captions, so that no text is lost or comes twice, and none
    stays with its clip. What cannot be paired stays as it is.
    """
    rng = np.random.default_rng(derive_seed(seed, "swapped captions"))
    own = corpus.captions["clip_id"].to_numpy()
    texts, order = np.arange(len(own)), rng.permutation(len(own))
    waiting = list(order[: round(share * len(own))])
    while len(waiting) > 1:
        one = waiting.pop()
        place = next((i for i in range(len(waiting) - 1, -1, -1) if own[waiting[i]] != own[one]), None)
        if place is not None:
            other = waiting.pop(place)
            texts[one], texts[other] = other, one
    captions = corpus.captions.assign(text=corpus.captions["text"].to_numpy()[texts])
    return Corpus(corpus.clips, captions, corpus.metadata, corpus.excluded), texts
