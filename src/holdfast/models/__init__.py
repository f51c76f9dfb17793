"""Models behind one interface.

Purpose: wires (protocols, both directions), providers (who speaks which wire, with which key), prices, and
`calling.py`, the one gateway through which anything spends tokens.
Knows: `net`, `types`.
Must not know: runs, tools' functions, the log.
Start reading at: `port.py`, then `calling.py`.
"""
