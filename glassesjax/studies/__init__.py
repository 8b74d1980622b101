"""One folder a question: settings in, rows, figures and a page out."""
