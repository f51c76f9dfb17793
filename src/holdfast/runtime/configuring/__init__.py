"""What stands in settings files beyond plain lines.

Purpose: sections of a settings file, as plain values with their lines.
Knows: YAML's nodes, `errors`.
Must not know: what a setting means, which file goes before which.
Start reading at: `sections.py`.
"""
