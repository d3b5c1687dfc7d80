from neuron_descriptions.common.logs import job_log
from neuron_descriptions.descriptions.accounting import write_accounts

with job_log(snakemake.log[0], snakemake.rule):
    write_accounts(
        parts=snakemake.input.parts,
        prices=snakemake.params.prices,
        output=snakemake.output.accounts,
    )
