from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.models import Model
from neuron_descriptions.models.fetching import fetch_model

with job_log(snakemake.log[0], snakemake.rule):
    spec = restored(Model, snakemake.params.spec).model_dump()
    fetch_model(spec=spec, folder=snakemake.output.model)
