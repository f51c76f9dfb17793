"""Tools that have a model read a text: classify it, take entities out of it, sum it up.

Purpose: reading what would fill the context of the model that wants to know one thing of it.
Knows: helpers, which have no tools, so that nothing comes of what a text tells them to do.
Must not know: engine, models; a model is asked as a run of its own, counted with the run that asks.
Start reading at: `reading.py`, then `classify.py`.
"""
