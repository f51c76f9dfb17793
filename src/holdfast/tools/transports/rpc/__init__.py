"""Calls over gRPC: where they go, judged before it is dialled, and the one place that loads grpcio."""
