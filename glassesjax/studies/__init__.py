"""One file a question: settings in, rows out."""
