"""What must not be reached and what must not be shown.

Purpose: the verdict on an IP address, and the policies that say which verdicts may be dialled.
Knows: `errors`.
Must not know: sockets, names, HTTP; it judges addresses and connects to none.
Start reading at: `addresses.py`.
"""
