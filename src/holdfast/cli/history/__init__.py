"""Commands on what came before: fork, rewind, diff, commit, export and import, delete and scrub, prune."""
