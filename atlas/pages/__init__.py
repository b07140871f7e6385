"""What a page about one subject tells: several questions about it, answered in one reading."""
