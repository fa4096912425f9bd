"""Parameter servers, measured beside all-reduce and beside plain ways to keep a table of rows."""
