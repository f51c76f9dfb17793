"""A small model of model2vec in a folder, made here: nothing is fetched."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace

WORDS = ["a", "lease", "is", "renewed", "the", "weather", "in", "spring", "bread", "with", "butter", "list", "text"]


def make_static_model(folder: Path, dimensions: int = 16) -> Path:
    """Writes a model whose words are those above, all numbers, and two it knows nothing of."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["[PAD]", "[UNK]", *WORDS, "number", "of", "many", *map(str, range(400)), ",", "zürich"]
    tokenizer = Tokenizer(WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    chance = random.Random(7)
    rows = [[chance.uniform(-1, 1) for _ in range(dimensions)] for _ in words]
    save_file({"embeddings": numpy.array(rows, dtype=numpy.float32)}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"normalize": True}))
    return folder
