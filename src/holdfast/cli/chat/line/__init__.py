"""What a person types into: `editor.py` is the input line, `plain.py` what there is where a terminal can do nothing."""
