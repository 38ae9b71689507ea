"""`python -m corrlib.benchmarks.gpu`: the parts in a process of its own, each within its time; see the package."""

import argparse
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from corrlib.benchmarks.gpu.parts import AGAIN, LIMITS, REHEARSAL_SECONDS
from corrlib.benchmarks.gpu.rows import Row, line, write_csv

START_SECONDS = 120  # for a process to import everything and to say that it has begun
PATIENCE_SECONDS = 5.0  # for what is asked to end


class Check:
    """All parts, one after the other; what they find is written into `out` as it comes.

    results.jsonl: one event a line; results.csv: the rows; log.txt: what the parts print.
    """

    def __init__(self, out: Path, names: list[str], minutes: float, options: list[str], device: str) -> None:
        self.out, self.waiting, self.options = out, names, options
        self.rehearse = "--rehearse" in options
        self.began, self.end = time.time(), time.time() + 60 * minutes
        self.rows: list[Row] = []
        self.states: dict[str, str] = {}
        hidden = {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}
        self.environment = {**os.environ, **hidden, "PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1"}

    def run(self) -> bool:
        """Whether every part came to its end and all that is asked of them holds."""
        self.out.mkdir(parents=True, exist_ok=True)
        for name in ("results.jsonl", "results.csv", "log.txt"):
            (self.out / name).unlink(missing_ok=True)
        while self.waiting and time.time() < self.end:
            if not self._process():
                break
        for name in self.waiting:
            self._note({"part": name, "state": "not reached", "seconds": 0.0})
        self._summary()
        return all(s == "done" for s in self.states.values()) and all(r["passed"] is not False for r in self.rows)

    def _process(self) -> bool:
        """One process for all parts that are left; it ends when they have, or one was killed or has lost the GPU.

        False where it could not even begin.
        """
        with open(self.out / "log.txt", "a", encoding="utf-8") as log:
            worker = subprocess.Popen(
                self.command(),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self.environment,
                start_new_session=True,
            )
        try:
            return self._follow(worker)
        finally:
            self._kill(worker)

    def command(self) -> list[str]:
        """What does all parts that are left."""
        return [sys.executable, "-m", "corrlib.benchmarks.gpu.worker", str(self.out), *self.options, *self.waiting]

    def _follow(self, worker: subprocess.Popen) -> bool:
        events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._listen, args=(worker, events), daemon=True).start()
        part, started, limit = "", time.time(), float(START_SECONDS)
        while True:
            limit = REHEARSAL_SECONDS if self.rehearse else limit
            left = min(started + limit, self.end) - time.time()
            try:
                event = events.get(timeout=max(0.0, left))
            except queue.Empty:
                if part:
                    why = "out of time" if time.time() >= self.end else f"stopped after {limit:.0f} s"
                    self._end(part, why, time.time() - started)
                return bool(part)
            if event is None:  # it has ended, of its own or not
                worker.wait()
                if part:
                    self._end(part, f"its process ended with status {worker.returncode}", time.time() - started)
                elif self.waiting and worker.returncode != AGAIN:
                    print(f"the process ended with status {worker.returncode}; see {self.out / 'log.txt'}", flush=True)
                    return False
                return True
            if "begin" in event:
                part, started = event["begin"], time.time()
                limit = LIMITS[part]
                print(f"{started - self.began:5.0f} s  {part}", flush=True)
            elif "row" in event:
                found = {"part": part, **event["row"]}
                self.rows.append(found)
                self._note(found)
                write_csv(self.out / "results.csv", self.rows)
                print(f"         {line(found)}", flush=True)
            elif "end" in event:
                self._end(part, event["end"], event["seconds"])
                part, started, limit = "", time.time(), float(START_SECONDS)
            elif "refused" in event:
                print(event["refused"], flush=True)
                return False

    @staticmethod
    def _listen(worker: subprocess.Popen, events: queue.Queue) -> None:
        assert worker.stdout is not None
        for text in worker.stdout:
            events.put(json.loads(text))
        events.put(None)

    @staticmethod
    def _kill(worker: subprocess.Popen) -> None:
        """The process, and all that it has started: torchrun, asked to end, ends its own, which nobody else reaches."""
        for last, way in ((False, signal.SIGTERM), (True, signal.SIGKILL)):
            try:
                os.killpg(worker.pid, way)
                until = time.time() + PATIENCE_SECONDS
                while not last and time.time() < until:
                    worker.poll()
                    os.killpg(worker.pid, 0)
                    time.sleep(0.05)
            except ProcessLookupError:
                break
        worker.wait()

    def _end(self, part: str, state: str, seconds: float) -> None:
        self.waiting = [name for name in self.waiting if name != part]
        self._note({"part": part, "state": state, "seconds": round(seconds, 1)})

    def _note(self, content: dict[str, Any]) -> None:
        if "state" in content:
            self.states[content["part"]] = content["state"]
            if content["state"] != "done":
                print(f"         {content['part']}: {content['state']}", flush=True)
        with open(self.out / "results.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(content) + "\n")

    def _summary(self) -> None:
        print(f"\n{'part':<14} {'rows':>4} {'ok':>4} {'failed':>6}  state", flush=True)
        for part, state in self.states.items():
            passed = [found["passed"] for found in self.rows if found["part"] == part]
            print(f"{part:<14} {len(passed):>4} {passed.count(True):>4} {passed.count(False):>6}  {state}", flush=True)
        for found in self.rows:
            if found["passed"] is False:
                print(f"{found['part']}: {line(found)}", flush=True)
        print(f"{time.time() - self.began:.0f} s; everything is in {self.out}", flush=True)


def main() -> int:
    """The command line; returns an exit status."""
    parser = argparse.ArgumentParser(prog="python -m corrlib.benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: at tiny sizes, as a rehearsal")
    parser.add_argument("--rehearse", action="store_true", help="every part at tiny sizes")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder for the results")
    parser.add_argument("--minutes", type=float, default=8.0, help="for everything")
    parser.add_argument("--processes", type=int, default=2, help="that share a batch")
    parser.add_argument("--only", nargs="+", choices=list(LIMITS), metavar="PART", help=f"of {', '.join(LIMITS)}")
    chosen = parser.parse_args()
    options = [f"--device={chosen.device}", f"--processes={chosen.processes}"]
    options += ["--rehearse"] if chosen.rehearse or chosen.device == "cpu" else []
    check = Check(chosen.out.resolve(), chosen.only or list(LIMITS), chosen.minutes, options, chosen.device)
    return 0 if check.run() else 1


if __name__ == "__main__":
    sys.exit(main())
