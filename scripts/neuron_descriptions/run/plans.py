"""A plan: the stages of a run with what each takes, their sums, and how they are told."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil

from neuron_descriptions.common.logs import logger
from neuron_descriptions.common.storage import whole


def short(number: float) -> str:
    """A number in three digits: 1.5M."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:,.3g}{unit}"
    return f"{number:.3g}"


@dataclass(frozen=True, slots=True)
class Stage:
    """The jobs of one rule. seconds, memory_mb: of one job; everything else: of all of them."""

    rule: str
    jobs: int
    seconds: float
    memory_mb: float
    gpus: int = 0
    read: float = 0  # tokens
    generated: float = 0  # tokens
    fetched: float = 0  # bytes, over the network
    kept: float = 0  # bytes
    temporary: float = 0  # bytes, deleted when used
    endpoint: float = 0  # dollars
    in_turn: bool = False  # one job after another, however many GPUs there are
    parts: tuple[tuple[str, float], ...] = ()  # what it reads for: name, share

    def gpu_hours(self) -> float:
        """Of all jobs."""
        return self.gpus * self.jobs * self.seconds / 3600


@dataclass(frozen=True, slots=True)
class Plan:
    """A run's stages in their order, one after the other."""

    stages: list[Stage]
    gpus: int
    gpu_hour: float  # dollars
    assumptions: list[str]
    ceilings: dict[str, float | None] = field(default_factory=dict)
    device: str = "GPU"  # or "processor"
    precision: list[str] = field(default_factory=list)

    def totals(self, jobs: Mapping[str, int] | None = None) -> dict[str, float]:
        """GPU hours, dollars and bytes of the whole run, or of so many jobs of each rule."""
        parts = [(s, 1.0 if jobs is None else jobs.get(s.rule, 0) / s.jobs) for s in self.stages if s.jobs]
        gpu_hours = sum(part * s.gpu_hours() for s, part in parts)
        return {
            "gpu_hours": gpu_hours,
            "dollars": gpu_hours * self.gpu_hour + sum(part * s.endpoint for s, part in parts),
            "gigabytes": sum(part * (s.kept + s.temporary) for s, part in parts) / 1e9,
        }

    def critical_path(self, gpus: int) -> float:
        """Hours from start to end with so many GPUs: the stages one after another, the CPU's jobs side by side."""

        def waves(stage: Stage) -> int:
            at_once = 1 if stage.in_turn else max(1, gpus // stage.gpus) if stage.gpus else stage.jobs
            return -(-stage.jobs // max(1, at_once))

        return sum(waves(s) * s.seconds for s in self.stages) / 3600

    def passed(self, jobs: Mapping[str, int] | None = None) -> list[str]:
        """What lies above a ceiling of the config, in words; empty where nothing does."""
        totals = self.totals(jobs)
        return [
            f"{totals[name]:,.4g} {name.replace('_', ' ')} planned, plan.ceilings.{name} is {most:,.4g}"
            for name, most in self.ceilings.items()
            if most is not None and totals[name] > most
        ]

    def text(self) -> str:
        """The plan as a table and its assumptions."""
        head = (
            "stage", "jobs", "min/job", f"{self.device} hours", "tokens read", "generated", "GB fetched", "GB kept",
            "GB temp.", "dollars",
        )  # fmt: skip
        rows: list[tuple[str, ...]] = []
        for s in self.stages:
            dollars = s.endpoint + s.gpu_hours() * self.gpu_hour
            rows.append(
                (
                    s.rule, f"{s.jobs:,}", f"{s.seconds / 60:,.1f}", short(s.gpu_hours()), short(s.read),
                    short(s.generated), short(s.fetched / 1e9), short(s.kept / 1e9), short(s.temporary / 1e9),
                    short(dollars),
                )
            )  # fmt: skip
            for name, share in s.parts:
                hours, read, paid = (short(share * value) for value in (s.gpu_hours(), s.read, dollars))
                rows.append((f"  {name}", "", "", hours, read, "", "", "", "", paid))
        sums = [sum(getattr(s, name) for s in self.stages) for name in ("jobs", "read", "generated", "fetched", "kept")]
        totals = self.totals()
        temporary = totals["gigabytes"] - sums[4] / 1e9
        rows.append(
            (
                "total", f"{sums[0]:,}", "", short(totals["gpu_hours"]), short(sums[1]), short(sums[2]),
                short(sums[3] / 1e9), short(sums[4] / 1e9), short(temporary), short(totals["dollars"]),
            )
        )  # fmt: skip
        widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
        table = [
            "  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths)))
            for row in [head, *rows]
        ]
        paths = ", ".join(f"{short(self.critical_path(n))} h on {n}" for n in sorted({1, self.gpus, 8 * self.gpus}))
        if self.device != "GPU":
            paths = f"{short(self.critical_path(1))} h on this machine's processor"
        sizes = [
            f"  {s.rule}: a job takes {s.seconds / 60:,.1f} min; {advice}"
            for s in self.stages
            if s.gpus and s.rule != "harvest" and (advice := self._advice(s))
        ]
        passed = self.passed()
        return "\n".join(
            [
                *table,
                "",
                f"From start to end, without waiting for a queue: {paths}{' GPUs' * (self.device == 'GPU')}.",
                *(["Precision:", *(f"  {line}" for line in self.precision)] if self.precision else []),
                *(["Job sizes:", *sizes] if sizes else []),
                "Assumptions (config: plan):",
                *(f"  {line}" for line in self.assumptions),
                *(["ABOVE A CEILING, will not start:", *(f"  {line}" for line in passed)] if passed else []),
            ]
        )

    def _advice(self, stage: Stage) -> str:
        if stage.jobs > 1 and stage.seconds < 600:
            several = min(stage.jobs, round(1800 / stage.seconds))
            return f"on a cluster, put {several} chunks in one (chunks_per_job) or enlarge neurons.chunk_size"
        return "lower neurons.chunk_size" if stage.seconds > 6 * 3600 else ""


def time_left(wanted: Mapping[str, int], done: Mapping[str, int], minutes: float, seconds: Mapping[str, float]) -> str:
    """How far a run is, for the terminal. wanted, done: jobs by rule; minutes: since its start; seconds: of a job of a
    rule, as planned: what is left takes as long per planned second as what is done.
    """
    total, finished = sum(wanted.values()), sum(done.values())
    weight = {rule: max(seconds.get(rule, 1.0), 1.0) for rule in wanted}
    whole_run = sum(weight[rule] * n for rule, n in wanted.items())
    part = sum(weight[rule] * n for rule, n in done.items())
    left = f", about {ceil(minutes * (whole_run - part) / part):,} min left" if part else ""
    return f"{finished:,} of {total:,} jobs in {minutes:,.0f} min{left}"


def write_plan(text: str, path: str) -> None:
    """Log a plan and write it to a file."""
    logger.info("what the run takes:\n%s\n", text)
    with whole(path) as part:
        part.write_text(text + "\n")
