"""What a source claims, and by a stated rule whether it comes out again."""
