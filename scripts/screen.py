from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.scores import Scores
from neuron_descriptions.scores.screening import screen_chunk
from neuron_descriptions.simulators.opening import Job

given, wanted = snakemake.input, snakemake.params
with job_log(snakemake.log[0], snakemake.rule):
    # The large simulator is none of this job's.
    settings = restored(Scores, wanted.settings, simulator=wanted.settings["screen"]["simulator"])
    simulator = settings.screen.simulator.model_dump(exclude={"prompt"})
    screen_chunk(
        neurons=wanted.neurons,
        layer=int(snakemake.wildcards.layer),
        tables={name: given[name] for name in ("valid", "exemplars", "statistics", "descriptions")},
        job=Job(simulator, given.simulator, given.get("prompt"), given.subject, snakemake.threads),
        settings=settings.model_dump(exclude={"simulator"}),
        kept=wanted.kept,
        output=snakemake.output.screened,
    )
