"""Running the installation: serve, maintain, doctor, database, keys, tokens, events, outbox, audit."""
