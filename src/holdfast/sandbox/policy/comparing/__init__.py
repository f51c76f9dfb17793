"""What one profile lets through and another does not.

Purpose: two profiles in, the differences out, and whether all of them could be told.
Knows: the judge, which it asks; the language of patterns, for questions that leave no case out.
Must not know: documents, how anything is enforced.
Start reading at: `profiles.py`, then `network.py`.
"""
