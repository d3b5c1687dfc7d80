from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.scores import Scores
from neuron_descriptions.scores.screening import screen_chunk
from neuron_descriptions.simulators.opening import Job

given, wanted = snakemake.input, snakemake.params
with job_log(snakemake.log[0], snakemake.rule):
    # The large simulator is none of this job's.
    settings = restored(Scores, wanted.settings, simulator=wanted.settings["screen"]["simulator"])
    screen_chunk(
        neurons=wanted.neurons,
        layer=int(snakemake.wildcards.layer),
        tables={name: given[name] for name in ("valid", "exemplars", "statistics", "descriptions")},
        job=Job.of_job(settings.screen.simulator, given, snakemake.threads),
        settings=settings,
        kept=wanted.kept,
        output=snakemake.output.screened,
    )
