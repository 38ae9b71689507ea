"""Audio of the next batches, read by threads while the current one is computed."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from corrlib.corpora.audio import ClipError
from corrlib.corpora.batches import AudioSource

AHEAD = 2  # batches
Key = TypeVar("Key")
Loaded = list[Any]  # each an AudioBatch of the source's kind


def load_ahead(
    audio: AudioSource, requests: Iterable[tuple[Key, Iterable[Iterable[Any]]]], workers: int, lenient: bool = False
) -> Iterator[tuple[Key, Loaded]]:
    """Yield (key, loaded parts) for every request (key, parts), in order; what is yielded does not depend on `workers`.

    A part is a list of the audio's `places`; loaded, it is what its `collate` gives. workers: threads (decoding and
    resampling release Python's lock); 0: read when asked. An error of a thread is raised where its batch is due.
    lenient: a clip that cannot be read is none; `collate` is given its ClipError.
    """
    if not workers:
        for key, parts in requests:
            yield key, [audio.collate([_read(audio, place, lenient) for place in part]) for part in parts]
        return
    pool = ThreadPoolExecutor(workers, "read")
    waiting: deque[tuple[Key, list[Future]]] = deque()
    try:
        for key, parts in requests:
            waiting.append((key, [_submit(pool, audio, part, lenient) for part in parts]))
            if len(waiting) > AHEAD:
                yield _due(*waiting.popleft())
        while waiting:
            yield _due(*waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _read(audio: AudioSource, place: Any, lenient: bool) -> Any:
    try:
        return audio.read(place)
    except ClipError as error:
        if not lenient:
            raise
        return error


def _submit(pool: ThreadPoolExecutor, audio: AudioSource, part: Iterable[Any], lenient: bool) -> Future:
    """A part that threads read, and one of them collates: by then all its pieces are read or being read."""
    pieces = [pool.submit(_read, audio, place, lenient) for place in part]
    return pool.submit(lambda: audio.collate([piece.result() for piece in pieces]))


def _due(key: Key, parts: list[Future]) -> tuple[Key, Loaded]:
    return key, [part.result() for part in parts]
