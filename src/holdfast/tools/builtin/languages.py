"""Which language a file is in, by its name, for screens that colour it."""

from __future__ import annotations

__all__ = ("language_of",)

_LANGUAGES = {
    "go": "go",
    "ts": "typescript",
    "tsx": "typescript",
    "js": "javascript",
    "jsx": "javascript",
    "py": "python",
    "rs": "rust",
    "rb": "ruby",
    "java": "java",
    "c": "c",
    "h": "c",
    "cpp": "cpp",
    "hpp": "cpp",
    "cs": "csharp",
    "swift": "swift",
    "kt": "kotlin",
    "scala": "scala",
    "sh": "bash",
    "bash": "bash",
    "yaml": "yaml",
    "yml": "yaml",
    "json": "json",
    "toml": "toml",
    "xml": "xml",
    "html": "html",
    "css": "css",
    "scss": "scss",
    "sql": "sql",
    "md": "markdown",
    "dockerfile": "dockerfile",
    "tf": "hcl",
    "proto": "protobuf",
    "graphql": "graphql",
}


def language_of(path: str) -> str:
    """Returns the language's name; empty when the file's name does not tell."""
    name = path.rpartition("/")[2].lower()
    _, dot, extension = name.rpartition(".")
    return _LANGUAGES.get(extension, "") if dot or name == "dockerfile" else ""
