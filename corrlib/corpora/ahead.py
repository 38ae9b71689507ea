"""Audio of the next batches, read by threads while the current one is computed."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor

AHEAD = 2  # batches


def load_ahead(audio, requests, workers):
    """Yield (key, loaded parts) for every request (key, parts), in order; what is yielded does not depend on `workers`.

    audio: WaveformAudio or LogMelAudio; a part is a list of its places. workers: threads (decoding and resampling
    release Python's lock); 0: read when asked. An error of a thread is raised where its batch is due.
    """
    if not workers:
        for key, parts in requests:
            yield key, [audio.collate([audio.read(place) for place in part]) for part in parts]
        return
    pool, waiting = ThreadPoolExecutor(workers, "read"), deque()
    try:
        for key, parts in requests:
            waiting.append((key, [[pool.submit(audio.read, place) for place in part] for part in parts]))
            if len(waiting) > AHEAD:
                yield _due(audio, waiting)
        while waiting:
            yield _due(audio, waiting)
    finally:
        pool.shutdown(cancel_futures=True)


def _due(audio, waiting):
    key, parts = waiting.popleft()
    return key, [audio.collate([piece.result() for piece in part]) for part in parts]
