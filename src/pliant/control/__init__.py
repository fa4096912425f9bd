"""The coordinator: HTTP and WebSocket on one port, one runtime per job, a journal. Never imports torch."""
