"""Modules of WebAssembly that are tools: where they come from, and what goes in and comes out of one."""
