"""What figures of the papers show, one file a figure."""
