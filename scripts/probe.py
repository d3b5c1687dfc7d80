from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.scores import Simulator
from neuron_descriptions.scores.probing import probe
from neuron_descriptions.simulators.opening import Job

given, wanted = snakemake.input, snakemake.params
with job_log(snakemake.log[0], snakemake.rule):
    simulator = restored(Simulator, wanted.simulator)
    probe(
        Job.of_job(simulator, given, snakemake.threads, wanted.access),
        corpus=given.corpus,
        rules=given.rules,
        setting=wanted.setting,
        seed=wanted.seed,
        output=snakemake.output.probe,
    )
