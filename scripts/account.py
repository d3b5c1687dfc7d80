from neuron_descriptions.accounting import write_accounts
from neuron_descriptions.logs import job_log

with job_log(snakemake.log[0], snakemake.rule):
    write_accounts(
        parts=snakemake.input.parts,
        prices=snakemake.params.prices,
        output=snakemake.output.accounts,
    )
