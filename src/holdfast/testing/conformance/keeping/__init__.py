"""What every store must do in which tools keep things beyond a run.

Purpose: the kit of `holdfast.tools.keeping.port`.
Knows: that port.
Must not know: any store.
Start reading at: `values.py`.
"""
