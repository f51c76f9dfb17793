"""The floor: the least a client can do, the way everything is measured, and the model server they all ask."""
