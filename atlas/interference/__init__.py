"""What suppressing one fact's neurons does to other facts: predicted and measured."""
