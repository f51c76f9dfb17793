"""`holdfast sandbox`: what commands run in here, one command in it, and what a policy lets through."""
