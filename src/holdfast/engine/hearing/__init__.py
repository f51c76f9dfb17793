"""What others answer, before it is written down.

Purpose: an answer to what a call waits for passes what every result passes.
Knows: the state, the tools' gateway.
Must not know: the loop, who sent it.
Start reading at: `answers.py`.
"""
