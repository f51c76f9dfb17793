"""Every error Holdfast raises, as one tree.

    HoldfastError
    ├── UsageError                  the call was wrong; nothing happened
    │   ├── UnknownModel            no provider goes by that name
    │   ├── UnknownTool             a tool that is named cannot be found
    │   ├── UnknownSession          no such session in this store
    │   ├── UnknownPrice            a dollar limit needs a price that nobody knows
    │   ├── UndescribableTool       a parameter has no JSON Schema
    │   ├── InputTooLarge           a prompt over the size limit
    │   ├── InboxFull               too much unread mail in a session
    │   ├── LaneFull                too many jobs wait in a lane
    │   ├── SessionBusy             a prompt that wanted an idle session
    │   ├── SessionExited           a session that takes nothing more
    │   ├── UnknownWait             nothing waits under that token
    │   ├── SecretMissing           nobody knows the value of a secret
    │   └── PolicyDenied            a policy does not let an agent ask a model, or have a tool
    ├── JournalError
    │   ├── Fenced                  a newer owner writes this stream: stop, touch nothing
    │   ├── LeaseHeld               another owner is alive
    │   ├── Corrupt                 the log contradicts itself: our bug, or damage
    │   └── NotOwnable              the log holds events this version must not continue
    ├── StorageError
    │   ├── StorageLocked           another program holds the database
    │   ├── StorageReadOnly         the database cannot be written
    │   ├── StorageFull             no space left; what was written is safe
    │   └── StorageDamaged          not a database, or a damaged one
    ├── NetError                    an HTTP exchange did not come about or broke
    │   ├── AddressBlocked          the address guard refused a connection
    │   ├── RequestRefused          a URL, header or redirect this client does not follow
    │   ├── ConnectionBroken        it broke before the answer was whole
    │   │   └── NotConnected        there was none, so nothing was sent
    │   ├── NetTimeout              connecting took too long, or the other side went silent
    │   ├── ProtocolError           what came back is not HTTP, or not what HTTP allows
    │   └── AnswerTooLarge          a body, or one event of a stream, over its bound
    ├── DeliveryError               a target did not take a delivery, or nobody knows whether it did
    │   ├── DeliveryRefused         it will not take it, now or later
    │   └── NotDelivered            nothing arrived there; later it may
    ├── SandboxError
    │   ├── IsolationMissing        a layer that is required is not to be had here; nothing was started
    │   ├── PathEscape              a path that leads out of the workspace
    │   ├── SandboxesFull           as many sandboxes live on this machine as there may be
    │   └── WorkspaceBusy           somebody else is changing the files of the workspace
    └── ModelError                  a model call ended without an answer
        ├── RateLimited · Overloaded · ServerError · ModelTimeout · ConnectionFailed   try again later
        │   └── Unreachable         nothing was sent, so nothing was spent
        ├── Malformed               the answer broke its protocol; try again
        ├── AuthFailed              do not try again
        │   └── NoCredit            the account may not spend more
        └── ContextOverflow · InvalidRequest                                           do not try again
            ├── ModelNotFound       the provider has no model of that name, or serves none at the address
            └── MediaUnsupported    a picture or document that cannot be made into what the target takes

Waiting, approval and cancellation are outcomes, not errors: they never appear here. A tool's failure is data
too (`holdfast.types.ToolError`), because the model reads it.

Each class says when a retry makes sense (`never`, `now`, `later`) and who can do something about it
(`model`, `user`, `operator`). `code` is stable: logs and programs may depend on it.
"""
