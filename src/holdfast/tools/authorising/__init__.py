"""Who may call which tool, with which arguments, and who may give a tool to others.

Purpose: policies as values, compiled once for an agent into a table of decisions; the stages of saving and sharing.
Knows: what tools say of themselves (`types/permissions.py`), how policies are read and patterns compared (`sandbox`).
Must not know: modes and their questions (`../permitting.py`), the gateway, who is asked and how.
Start reading at: `policy.py`, then `deciding.py` for the steps and `authority.py` for what a run asks.
"""
