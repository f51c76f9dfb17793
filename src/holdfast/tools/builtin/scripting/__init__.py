"""Code mode: a Python program of the model's, in which it calls the agent's tools.

Purpose: many calls in one turn, in loops and conditions, without the model reading each result.
Knows: the interpreter for snippets, the calls that a call makes.
Must not know: engine, models; a model is asked as a helper, by a call like any other.
Start reading at: `script.py`, then `desk.py`.
"""
