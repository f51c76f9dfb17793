"""`holdfast doctor`: what this machine allows, and what is missing."""
