from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.scores import Scores
from neuron_descriptions.scores.panel_nulls import simulate_nulls
from neuron_descriptions.simulators.opening import Job

given, wanted = snakemake.input, snakemake.params
with job_log(snakemake.log[0], snakemake.rule):
    settings = restored(Scores, {}, simulator=wanted.simulator)
    simulate_nulls(
        inputs={name: file for name, file in given.items() if file},
        simulator=Job.of_job(settings.simulator, given, snakemake.threads, wanted.kept["access"]),
        sequences=wanted.sequences,
        lists=wanted.lists,
        seed=wanted.seed,
        output=snakemake.output.nulls,
        kept=wanted.kept,
    )
