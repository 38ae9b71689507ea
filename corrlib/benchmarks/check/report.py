"""What `make check` prints, in the order in which one wants to know it: what is wrong first."""

import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from shutil import disk_usage

import numpy as np
import soundfile
import torch

from corrlib.benchmarks.check.forecast import (
    Costs,
    Disk,
    Forecast,
    Machine,
    Shape,
    disk_of_caches,
    disk_of_runs,
    largest_part,
    memory_of_step,
)
from corrlib.benchmarks.check.models import (
    ROBERTA,
    Sizes,
    Tower,
    build,
    distinct,
    hears_features,
    key_of,
    sizes_of,
    training_of,
)
from corrlib.benchmarks.check.problems import plan, problems
from corrlib.benchmarks.check.splits import SPLITS, Split, look_at
from corrlib.benchmarks.check.steps import Cost, NoRoom, free_bytes, measure, taken
from corrlib.benchmarks.measure import DEVICE
from corrlib.corpora.audio import read_clip
from corrlib.files import there
from corrlib.models.dual_encoder import DualEncoder
from corrlib.study import runs
from corrlib.study.fetch import missing_of_study, space
from corrlib.study.memory import peak_bytes
from corrlib.study.parameters import StageOneParameters
from corrlib.study.runs import processor

GIB, GB = 2**30, 10**9
CHECKPOINTED = 0.44, 1.25  # of the memory beyond weights, of the seconds: see DualEncoder.save_memory
ROOM = 0.9  # of a GPU's free memory that a step may take: some is lost between tensors
LONG_SECONDS = 3 * 86400  # a study that takes longer is told how it would be shorter
SMALL = 2 * GIB  # a step that needs less is told no ways to need less
BUSY = 1.5  # of the cores: others compute here, too
READ_HZ, READ_SECONDS = 44100, 30.0  # of a file that stands for a corpus's, where none is at hand
META = torch.device("meta")


def span(length: float) -> str:
    """A length of time as one says it."""
    for limit, unit, name in ((100, 1, "s"), (100 * 60, 60, "min"), (72 * 3600, 3600, "h")):
        if length < limit:
            return f"{length / unit:.3g} {name}"
    return f"{length / 86400:,.0f} days"


class Report:
    """The check of one study, printed as it is found.

    runs_at_once: how many runs `make reproduce` makes at a time on a processor; budget: seconds for the timed steps.
    ParameterError where the study cannot be planned.
    """

    def __init__(self, name: str, runs_at_once: int, budget: float) -> None:
        self.name, self.budget, self.gpu = name, budget, DEVICE.type == "cuda"
        self.free = free_bytes()
        self.study, self.plans, lacking = plan(name)
        self.trained = {n: p for n, p in self.plans.items() if p.kind in ("stage1", "stage2")}
        self.parameters = {n: training_of(p, self.plans) for n, p in self.trained.items()}
        self.corpora, wrong = look_at(self.plans.values())
        if any(" needs $DATA: " in sentence for sentence in lacking):
            wrong = []  # of a folder that nobody named
        self.problems = [*lacking, *wrong, *problems(self.study, self.plans, self.corpora)]
        self.machine = Machine(self.gpu, runs_at_once, 1 if self.gpu else runs_at_once)
        self.advice: list[str] = []
        self._shapes: dict[tuple, DualEncoder] = {}
        self._read: dict[tuple[tuple[str, str], float], float] = {}

    def tell(self) -> int:
        """Print all of it; an exit status."""
        kinds = Counter(p.kind for p in self.plans.values())
        done = [name for name in self.trained if runs.is_finished(self.name, name)]
        print(
            f"\nstudy '{self.name}' ({self.study.title}): {len(self.plans)} runs, {kinds['stage1']} of stage 1 and "
            f"{kinds['stage2']} of stage 2; of these {len(done)} are finished"
        )
        known = all(self.corpora.values())
        disks = self._disks() if known else []
        self.problems += self._too_small(disks)
        self._tell_problems()
        self._tell_corpora()
        self._tell_machine()
        if not known:
            print("\nHow long it takes can be told when the corpus's tables are there.")
            return 1
        self._tell_disks(disks)
        costs = self._measured()
        left = [name for name in self.trained if name not in done and self._timed(name, costs)]
        self._tell_memory(costs, left)
        self._tell_hours(costs, left)
        if self.advice:
            print("\nWhat to change:")
            print("\n".join(f"- {sentence}" for sentence in dict.fromkeys(self.advice)))
        return 1 if self.problems else 0

    def _tell_problems(self) -> None:
        if not self.problems:
            print("\nNothing that can be seen beforehand would stop it.")
            return
        print("\nWhat would stop it:")
        print("\n".join(f"- {' '.join(sentence.split())}" for sentence in dict.fromkeys(self.problems)))

    def _tell_corpora(self) -> None:
        print("\nCorpora:")
        shown: set[tuple] = set()
        for (corpus, data), splits in self.corpora.items():
            facts = tuple((split, one.clips, one.known) for split, one in splits.items())
            if (corpus, facts) in shown:  # of another seed
                continue
            shown.add((corpus, facts))
            place = f" in {data}" if corpus != "soundscapes" else ""
            print(f"  {corpus}{place}" + ("" if splits else ": not known"))
            for split in (s for s in ("pretraining", *SPLITS) if s in splits):
                one = splits[split]
                shortest, longest = float(one.seconds.min()), float(one.seconds.max())
                lasts = f"{shortest:.3g} to {longest:.3g} s" if longest - shortest > 0.001 else f"{longest:.3g} s"
                captions = int(one.captions.sum())
                print(f"    {split:<12} {one.clips:>9,} clips {captions:>9,} captions  {lasts}, {one.known}")

    def _tell_machine(self) -> None:
        free = f"{self.free / GIB:.1f}"
        if self.gpu:
            card = torch.cuda.get_device_properties(DEVICE)
            print(
                f"\nMachine: {card.name}, {free} of {card.total_memory / GIB:.1f} GiB free; {self.machine.cores} cores"
            )
            return
        at_once = f"{self.machine.runs} run{'s' * (self.machine.runs > 1)} at a time"
        print(f"\nMachine: {processor()}, {at_once}, {free} GiB of memory free; no GPU: its memory is estimated")
        busy, cores = os.getloadavg()[0], os.cpu_count() or 1
        if busy > BUSY * cores:
            print(f"  others keep it busy (a load of {busy:.0f} on {cores} cores): times count the work for this alone")

    def _built(self, p: StageOneParameters, tower: Tower) -> DualEncoder:
        """A tower without the memory of its weights, to be measured by its shapes alone."""
        key = key_of(p, tower)
        if key not in self._shapes:
            self._shapes[key] = build(p, tower, META)
        return self._shapes[key]

    def _sizes(self, p: StageOneParameters, tower: Tower) -> Sizes:
        return sizes_of(self._built(p, tower), tower)

    def _shape(self, p: StageOneParameters) -> Shape:
        encoder = self._built(p, "audio")
        backbone = encoder.backbone
        rate = backbone.sample_rate_hz
        mels = getattr(backbone.front_end, "mels", 0)
        frames = backbone.front_end.frame_count(10 * rate) / 10 if mels and p.cache_log_mel else 0.0
        layers = range(len(backbone.layers) + 1)
        captions = self._built(p, "text").text.feature_size
        return Shape(rate, str(backbone.front_end.settings()), mels * frames, encoder.feature_size_of(layers), captions)

    def _disks(self) -> list[Disk]:
        """What the study takes on disk: published files that are missing, caches, runs."""
        disks = [Disk(item.folder, space(item)) for item in missing_of_study(self.study)]
        try:
            disks += disk_of_caches(self.plans, self.corpora, self._shape)
            disks.append(disk_of_runs(self.plans, self.corpora, self._sizes, runs.root(), self.machine.cores))
        except (OSError, ValueError):  # a model of others that is not at hand, which is told as a problem
            pass
        return disks

    @staticmethod
    def _by_device(disks: Iterable[Disk]) -> dict[int, list[Disk]]:
        found: dict[int, list[Disk]] = {}
        for disk in disks:
            found.setdefault(there(disk.folder).stat().st_dev, []).append(disk)
        return found

    def _too_small(self, disks: list[Disk]) -> list[str]:
        sentences = []
        for group in self._by_device(disks).values():
            needed, free = sum(d.kept + d.passing for d in group), disk_usage(there(group[0].folder)).free
            if needed > free:
                sentences.append(
                    f"the disk of {group[-1].folder} has {free / GB:.1f} GB free, and the study takes up to "
                    f"{needed / GB:.1f} GB; free space, name other places by DATA and CORRLIB_RUNS, or make fewer runs "
                    "at a time by CORES"
                )
        return sentences

    def _tell_disks(self, disks: list[Disk]) -> None:
        print("\nDisk:")
        for group in self._by_device(disks).values():
            folders: dict[str, list[float]] = {}
            for disk in group:
                both = folders.setdefault(str(disk.folder), [0.0, 0.0])
                both[0], both[1] = both[0] + disk.kept, both[1] + disk.passing
            for folder, (kept, passing) in folders.items():
                more = f", and {passing / GB:.3g} GB of checkpoints while runs train" if passing else ""
                print(f"  {folder}: {kept / GB:.3g} GB{more}")
            print(f"  free there: {disk_usage(there(group[0].folder)).free / GB:.1f} GB")

    def _measured(self) -> Costs:
        """The cost of each different tower, printed as it is found."""
        both: tuple[Tower, Tower] = ("audio", "text")
        towers = [(t, k, p) for t in both for k, p in distinct(self.parameters.values(), t).items()]
        end, costs = time.monotonic() + self.budget, Costs()
        print("\nTimed steps, with random weights:", flush=True)
        for place, (tower, key, p) in enumerate(towers):
            development = self.corpora[p.corpus, p.data]["development"]
            p = p.model_copy(update={"cache_log_mel": development.keeps_log_mels(p)})
            now = time.monotonic()
            until = now + max(0.0, end - now) / (len(towers) - place)
            longest = float(min(development.seconds.max(), p.clip_seconds))
            count = p.batch_clips // p.processes * (1 if tower == "audio" else p.captions_per_clip)
            if p.part_clips:
                count = min(count, p.part_clips * (1 if tower == "audio" else p.captions_per_clip))
            name = p.member or p.backbone if tower == "audio" else p.text_encoder
            try:
                costs[key] = cost = measure(p, tower, longest, count, development.words, until)
            except (OSError, ValueError) as error:
                print(f"  {name:<12} cannot be timed: {str(error).splitlines()[0][:160]}")
                continue
            except NoRoom as error:
                needs = f"weights, gradients and AdamW's moments of {name} take {error}"
                print(f"  {name:<12} cannot be timed: {needs}")
                self.advice.append(f"{needs}, more than the memory that is free: train_{tower}: heads, or last:<n>")
                continue
            self._tell_cost(name, tower, p, cost)
        return costs

    def _tell_cost(self, name: str, tower: Tower, p: StageOneParameters, cost: Cost) -> None:
        features = hears_features(p) if tower == "audio" else p.train_text == "heads"
        unit = "features" if features else "captions" if tower == "text" else "s of audio"
        times = " ".join(f"{taken:.3g}" for taken in cost.whole)
        part = "a whole batch" if cost.units >= cost.wanted else f"of {cost.wanted:,} in a batch"
        precision = "" if cost.precision == p.precision else f", {cost.precision} for {p.precision}"
        kept = (
            f"; {1000 * cost.forward:.3g} ms a {'caption' if tower == 'text' else 'second of audio'} once"
            if features
            else ""
        )
        print(f"  {name:<14} {cost.units:>5,} {unit} ({part}{precision}): {times} s{kept}", flush=True)
        for note in cost.notes:
            print(f"  {'':<14} {note}")
        if (
            tower == "text"
            and name not in ("tiny", "minilm", *ROBERTA)
            and not Path(p.text_weights, "config.json").is_file()
        ):
            print(f"  {'':<14} in its place RoBERTa of the large one's size")

    def _timed(self, name: str, costs: Costs) -> bool:
        p = self.parameters[name]
        return key_of(p, "audio") in costs and key_of(p, "text") in costs

    def _tell_memory(self, costs: Costs, names: list[str]) -> None:
        """Memory of the largest step, what is free, and what would make it smaller."""
        if not names:
            return
        name = max(names, key=lambda n: self._need(n, costs))
        need, p, splits = self._need(name, costs), self.parameters[name], self._splits(name)
        fixed = sum(cost.fixed_bytes() for cost in self._costs_of(name, costs))
        where = "here" if self.gpu else "on a GPU, estimated"
        print(
            f"\nMemory of one step, at most: {need / GIB:.1f} GiB {where} ({name}; {fixed / GIB:.1f} of it weights, "
            "gradients and AdamW's moments)"
        )
        if not hears_features(p) and need > SMALL:
            ways = []
            if not p.checkpoint_activations:
                kept, slower = CHECKPOINTED
                smaller = fixed + kept * (need - fixed)
                ways.append((f"checkpoint_activations: true, {slower - 1:.0%} slower", smaller))
            for part in (p.batch_clips // 4, p.batch_clips // 16):
                if part and not (p.part_clips and p.part_clips <= part):
                    smaller = memory_of_step(p, splits, costs, part)
                    ways.append((f"part_clips: {part}, whose audio is computed twice", smaller))
            for way, smaller in ways:
                print(f"  {smaller / GIB:5.1f} GiB with {way}")
        if not self.gpu:
            print(f"  {peak_bytes() / GIB:5.1f} GiB was what this process took at its peak, with what was timed")
        self._advise_on_memory(name, need, costs)

    def _advise_on_memory(self, name: str, need: float, costs: Costs) -> None:
        p, room, free = self.parameters[name], ROOM * self.free, f"{self.free / GIB:.1f} GiB"
        if need > room:
            part = largest_part(p, self._splits(name), costs, room)
            fixed = sum(cost.fixed_bytes() for cost in self._costs_of(name, costs))
            mend = f"part_clips: {part}" if part else "train_audio, train_text: heads or last:<n>"
            if not p.checkpoint_activations and fixed + CHECKPOINTED[0] * (need - fixed) <= room:
                mend = f"checkpoint_activations: true, or {mend},"
            mend += " in both stages" + ("" if self.gpu else ", and CORES=1")
            if p.precision == "float32" and self.gpu:
                mend += "; precision: bfloat16 takes about half"
            self.advice.append(f"a step of {name} takes about {need / GIB:.1f} GiB, and {free} are free: {mend}")
        elif (at_once := int(room / need)) < min(self.machine.cores, len(self.trained)):
            self.advice.append(
                f"{free} of memory that are free hold {at_once} of these runs at a time: "
                f"`make reproduce STUDY={self.name} CORES={at_once}`"
            )

    def _splits(self, name: str) -> dict[str, Split]:
        return self.corpora[self.parameters[name].corpus, self.parameters[name].data]

    def _need(self, name: str, costs: Costs) -> float:
        return memory_of_step(self.parameters[name], self._splits(name), costs)

    def _tell_hours(self, costs: Costs, names: list[str]) -> None:
        if not names:
            print("\nNothing is left to forecast" + ("." if costs else ": none of its networks could be timed."))
            return
        plans = {n: p for n, p in self.plans.items() if p.kind not in ("stage1", "stage2") or self._timed(n, costs)}
        forecast = Forecast(plans, self.corpora, costs, self._reading, self.machine)
        print("\nForecast of the runs that are left:")
        groups: dict[tuple, list[str]] = {}
        for name in names:
            p, run = self.parameters[name], forecast.runs[name]
            groups.setdefault((self.trained[name].kind, p.member or p.backbone, run.steps, run.epochs), []).append(name)
        if forecast.features:
            print(f"  {'features of what is not trained, once':<40} {span(forecast.features):>9}")
        for (kind, model, steps, epochs), members in groups.items():
            run = forecast.runs[members[0]]
            what = f"{'stage 1' if kind == 'stage1' else 'stage 2'} {model}: {len(members)} x"
            print(
                f"  {what:<40} {span(run.seconds):>9}  ({epochs} epochs of {steps:,} steps of {span(run.step_seconds)})"
            )
        wall = forecast.wall_seconds(names)
        how = "one run at a time on this GPU" if self.gpu else f"{self.machine.runs} at a time on this processor"
        others = len(self.plans) - len(self.trained)
        print(
            f"In all {span(wall)}, {how}; the {others} runs that train nothing and what starts a notebook come on top"
        )
        self._advise_on_hours(forecast, names, wall, costs)

    def _advise_on_hours(self, forecast: Forecast, names: list[str], wall: float, costs: Costs) -> None:
        if waiting := [name for name in names if forecast.runs[name].waits_for_files]:
            self.advice.append(
                f"{waiting[0]} would wait for files to be decoded: raise workers, or set cache_audio: true"
            )
        timed_in = {c.precision for n in names for c in self._costs_of(n, costs)}
        if odd := timed_in - {self.parameters[n].precision for n in names}:
            self.advice.append(f"float16 is slow on a processor: set precision: {odd.pop()}, which was timed here")
        if self.gpu or wall < LONG_SECONDS:
            return
        once: dict[tuple, float] = {}
        for name in names:
            p, splits = self.parameters[name], [self._splits(name)[split] for split in SPLITS]
            audio, text = self._costs_of(name, costs)
            heard = sum(split.clips * float(split.computed(p.clip_seconds).mean()) for split in splits)
            once[key_of(p, "audio"), p.data] = heard * audio.forward
            once[key_of(p, "text"), p.data] = sum(int(split.captions.sum()) for split in splits) * text.forward
        self.advice.append(
            "this is work for a GPU; without one, train_audio: heads and train_text: heads have all features computed "
            f"once, in about {span(sum(once.values()))}, and a run then takes minutes (as in studies/clotho-heads.yaml)"
        )

    def _costs_of(self, name: str, costs: Costs) -> list[Cost]:
        p = self.parameters[name]
        return [costs[key_of(p, tower)] for tower in ("audio", "text")]

    def _reading(self, place: tuple[str, str], clip_seconds: float) -> float:
        if (place, clip_seconds) not in self._read:
            self._read[place, clip_seconds] = self._time_reading(place, clip_seconds)
        return self._read[place, clip_seconds]

    def _time_reading(self, place: tuple[str, str], clip_seconds: float) -> float:
        """Seconds in which one core decodes a clip, or as much of it as is heard: of some of the corpus's files, or of
        a WAV file as ClothoV2 has them.
        """
        split = self.corpora[place]["development"]
        with tempfile.TemporaryDirectory() as folder:
            paths = list(split.paths[:5])
            if not paths:
                length = min(float(split.seconds.mean()), READ_SECONDS)
                noise = 0.1 * np.random.default_rng(0).standard_normal(int(length * READ_HZ))
                soundfile.write(Path(folder) / "noise.wav", noise, READ_HZ)
                paths = 3 * [f"{folder}/noise.wav"]

            def read(path: str) -> None:
                read_clip(path, 0.0, min(clip_seconds, soundfile.info(path).duration), 32000)

            try:
                read(paths[0])
                return taken(lambda: [read(path) for path in paths], 1) / len(paths)
            except (OSError, RuntimeError, ValueError):  # a damaged file, which 01_data names
                return 0.0
