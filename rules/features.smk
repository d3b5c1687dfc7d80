# Which numbers of the subject are described, and the files that some kinds have.


include: "common/features.smk"


if PLACED:

    include: "dictionaries.smk"
