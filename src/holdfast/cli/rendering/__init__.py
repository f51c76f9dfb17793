"""How words, diffs, results and figures look on a terminal and in a file."""
