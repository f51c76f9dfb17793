"""What is known about models: prices, windows, longest answers, what they take.

Purpose: the card of a model by its name, put together from price data (`data/`, made by `scripts/refresh_catalogue.py`
from genai-prices, MIT; `data/about.json` says which release and day), from facts we looked up (`facts.json`, each with
its source), and from what a person's settings say.
Knows: `types`, `errors`.
Must not know: providers, wires, connections, where settings are kept.
Start reading at: `cards.py`, then `looking.py`.
"""

from holdfast.models.catalogue.cards import Input, ModelCard
from holdfast.models.catalogue.files import About
from holdfast.models.catalogue.looking import (
    about,
    known_models,
    listed_models,
    lookup,
    other_names,
    providers,
    refresh,
    sources,
)
from holdfast.models.catalogue.overriding import FIELDS, Facts, read_fact, read_facts
from holdfast.models.catalogue.pricing import LongContextPrice, Tier

__all__ = (
    "FIELDS",
    "About",
    "Facts",
    "Input",
    "LongContextPrice",
    "ModelCard",
    "Tier",
    "about",
    "known_models",
    "listed_models",
    "lookup",
    "other_names",
    "providers",
    "read_fact",
    "read_facts",
    "refresh",
    "sources",
)
