from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.explainers import Prices
from neuron_descriptions.descriptions.accounting import write_accounts

with job_log(snakemake.log[0], snakemake.rule):
    write_accounts(
        parts=snakemake.input.parts,
        prices=Prices(**snakemake.params.prices) if snakemake.params.prices else None,
        output=snakemake.output.accounts,
    )
