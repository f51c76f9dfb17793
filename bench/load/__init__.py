"""The server under load: thousands of streams in one process, watched from another one that is nicer to the machine."""
