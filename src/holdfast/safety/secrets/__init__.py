"""Where the values of secrets come from: the environment, files, an encrypted store, or one after another of these."""
