"""`atlas query`: one file a kind of question."""
