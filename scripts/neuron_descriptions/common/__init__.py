"""Ground floor: words, files, stores, random streams, logs, and what code a result depends on."""
