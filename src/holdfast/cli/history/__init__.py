"""Commands on what came before: fork, rewind, diff, export, commit and prune."""
