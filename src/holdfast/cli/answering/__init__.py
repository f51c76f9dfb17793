"""What agents ask in all sessions of a store, seen and answered from any terminal."""
