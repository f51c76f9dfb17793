"""What a log needs beside itself: the files of its workspace at each event, and the blobs it refers to.

Purpose: to say which snapshots to put back for any event, and what must be kept while an event is.
Knows: events.
Must not know: where snapshots and blobs rest, the loop.
Start reading at: `layers.py`.
"""
