from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.exports import Exports
from neuron_descriptions.exports.opening import export
from neuron_descriptions.exports.reading import FinishedRun

with job_log(snakemake.log[0], snakemake.rule):
    settings = restored(Exports, snakemake.params.settings)
    run = FinishedRun(snakemake.input, snakemake.params.about, settings.exemplars)
    export(snakemake.wildcards.kind, run, settings, snakemake.output.folder)
