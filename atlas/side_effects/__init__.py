"""What edits do to indexed facts other than their own."""
