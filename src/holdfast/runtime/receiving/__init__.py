"""What comes in from outside: answers that tools elsewhere bring, and conversations that were had elsewhere.

Purpose: from a body that somebody took in to the call that waits for it; from a conversation to the run that answers.
Knows: the bindings, who is spoken to, what is waited for.
Must not know: how a body came here, and who was let in.
Start reading at: `bringing.py`, `conversing.py`.
"""
