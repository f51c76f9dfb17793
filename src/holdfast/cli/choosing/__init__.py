"""Choosing a model by hand: `meaning.py` says what a name means here, `offers.py` what there is to choose from."""
