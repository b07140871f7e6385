"""What an atlas answers from stored rows alone."""
