"""The kit of the ways to tools elsewhere.

Purpose: what `Elsewhere` promises of a call, checked over any transport, against a tool that behaves badly when told.
Knows: the port of transports, the contract, the taxonomy, the processes and descriptors of this machine.
Must not know: any test framework, any transport.
Start reading at: `peer.py`, then `calling.py`.

How a transport plugs in: one file with a `Peer`, and one line. The peer is a real tool on this machine, of which there
is one behaviour for each word in `Behaviour`; `Peer.traits` says which lies its wire lets it tell, and whether it takes
credentials. Then every check of `checks_for(traits)` is run with a peer that was opened for it:

    async with GrpcPeer() as peer:
        await check(peer)

In the house the file is `tests/conformance/peers/<kind>.py`, and the line stands in `tests/conformance/peers/table.py`.
"""
