"""`holdfast config`, and what the other commands take from the settings."""
