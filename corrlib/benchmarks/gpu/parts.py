"""The parts in their order, most telling first, and the seconds that each may take on a GPU."""

LIMITS = {
    "machine": 40,
    "vectors": 90,
    "training": 75,
    "usual": 60,
    "waiting": 60,
    "study": 60,
    "resumed": 60,
    "options": 40,
    "profile": 45,
    "text": 40,
    "large": 60,
    "feeding": 60,
    "estimate": 45,
    "compiled": 120,
    "backbones": 60,
    "processes": 60,
}
REHEARSAL_SECONDS = 400  # on a busy machine
AGAIN = 75  # exit status of a process that has lost the GPU: another is to go on
HOMES = {  # the module of corrlib.benchmarks.gpu in which a part's function stands, under the part's name
    "machine": "machine",
    "vectors": "right",
    "options": "right",
    "waiting": "right",
    "study": "tiny_study",
    "resumed": "tiny_study",
    "processes": "tiny_study",
    "training": "fast",
    "usual": "fast",
    "profile": "fast",
    "text": "fast",
    "large": "fast",
    "compiled": "fast",
    "backbones": "fast",
    "feeding": "corpus_sized",
    "estimate": "corpus_sized",
}
