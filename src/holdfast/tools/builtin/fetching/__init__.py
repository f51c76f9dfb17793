"""How an answer from the web becomes text that a model can read.

Purpose: to tell text from other things, to decode it, and to read a page of HTML as Markdown.
Knows: nothing of ours.
Must not know: the network, tools, runs, models.
Start reading at: `markdown.py`.
"""
