"""The GPU: one command that shows whether everything is right on it, and measures how fast it is.

    python -m corrlib.benchmarks.gpu --out runs/gpu          (or `make gpu`)

It needs torch, torchaudio, transformers, numpy, pandas, safetensors, pydantic, soundfile and pyyaml alone; with
hear21passt, that network's step is timed, too. `--rehearse` does every part at tiny sizes, on a CPU as well.
"""
