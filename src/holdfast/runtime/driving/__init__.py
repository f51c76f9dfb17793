"""The sessions in the hands of this process, and the prompts that bring them there.

Purpose: from a prompt to a session that one task drives; from a lease that ran out to whoever goes on.
Knows: the journal, claims and places, the loop, what runs act through.
Must not know: what a run is asked to do, and who may ask.
Start reading at: `posting.py`, `working.py`.
"""
