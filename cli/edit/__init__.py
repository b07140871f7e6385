"""`atlas edit`: one file a command or a few that belong together."""
