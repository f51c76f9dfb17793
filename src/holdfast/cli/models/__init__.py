"""`holdfast models`: what is known of models."""
