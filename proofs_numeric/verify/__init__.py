"""The study of all claims: measured into rows, judged, and shown on one page."""
